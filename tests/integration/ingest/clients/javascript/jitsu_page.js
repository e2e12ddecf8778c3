// ?address=…&key=…
import { jitsuAnalytics } from "@jitsu/js";

const { address, key } = Object.fromEntries(new URLSearchParams(location.search));
window.analytics = jitsuAnalytics({ host: address, writeKey: `${key}:-` });
window.ready = Promise.resolve();

window.callAll = async () => {
  await analytics.identify("jitsu user", { email: "jitsu@example.com" });
  await analytics.group("jitsu account", { plan: "enterprise" });
  await analytics.track("Report Exported");
  await analytics.page({ name: "Home" });
};
