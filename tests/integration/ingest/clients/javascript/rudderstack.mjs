import RudderAnalytics from "@rudderstack/rudder-sdk-node";
import { doAll } from "./jobs.mjs";

await doAll(async ({ address, key, user, account, calls, padding }, errors) => {
  const errorHandler = (error) => errors.push(String(error));
  const analytics = new RudderAnalytics(key, { dataPlaneUrl: address, errorHandler, logLevel: "none" });
  const say = {
    identify: { traits: { email: `${user}@example.com` } },
    group: { groupId: account, traits: { plan: "enterprise" } },
    track: { event: "Report Exported", properties: { padding } },
    page: { name: "Home" },
    screen: { name: "Main" },
    alias: { previousId: `before ${user}` },
  };
  const settled = calls.map(
    (call) => new Promise((resolve) => analytics[call]({ userId: user, ...say[call] }, resolve)),
  );
  await analytics.flush();
  await Promise.all(settled);
});
