// ?address=…&key=…, and when_left=1 for a page that sends when it is left, not before.
import { AnalyticsBrowser } from "@segment/analytics-next";

const { address, key, when_left } = Object.fromEntries(new URLSearchParams(location.search));
const batching = { strategy: "batching", config: { size: 100, timeout: 3_600_000 } };
window.analytics = AnalyticsBrowser.load(
  { writeKey: key, cdnURL: address },
  when_left && { integrations: { "Segment.io": { deliveryStrategy: batching } } },
);
window.ready = new Promise((resolve) => analytics.ready(resolve));

window.callAll = async () => {
  await analytics.identify("segment user", { email: "segment@example.com" });
  await analytics.group("segment account", { plan: "enterprise" });
  await analytics.track("Report Exported");
  await analytics.page("Docs", "Home");
  await analytics.screen("Docs", "Main");
  await analytics.alias("segment user", "segment visitor");
};
