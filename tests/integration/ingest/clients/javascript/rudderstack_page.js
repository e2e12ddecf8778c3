// ?address=…&key=…, and when_left=1 for a page that sends when it is left, not before.
import { RudderAnalytics } from "@rudderstack/analytics-js/bundled";

const { address, key, when_left } = Object.fromEntries(new URLSearchParams(location.search));
const beacons = { useBeacon: true, beaconQueueOptions: { flushQueueInterval: 3_600_000 } };
window.analytics = new RudderAnalytics();
analytics.load(key, address, { configUrl: address, ...(when_left && beacons) });
window.ready = new Promise((resolve) => analytics.ready(resolve));

window.callAll = async () => {
  analytics.identify("rudderstack user", { email: "rudderstack@example.com" });
  analytics.group("rudderstack account", { plan: "enterprise" });
  analytics.track("Report Exported");
  analytics.page("Docs", "Home");
  analytics.alias("rudderstack user", "rudderstack visitor");
};
