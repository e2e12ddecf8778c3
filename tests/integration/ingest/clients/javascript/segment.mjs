import { Analytics } from "@segment/analytics-node";
import { doAll } from "./jobs.mjs";

await doAll(async ({ address, key, user, account, calls, padding }, errors) => {
  const { origin, pathname } = new URL(address); // its host can have no path
  const analytics = new Analytics({ host: origin, path: `${pathname}/v1/batch`.replace("//", "/"), writeKey: key });
  analytics.on("error", ({ code, reason }) => errors.push(`${code}: ${reason}`));
  const say = {
    identify: { traits: { email: `${user}@example.com` } },
    group: { groupId: account, traits: { plan: "enterprise" } },
    track: { event: "Report Exported", properties: { padding } },
    page: { name: "Home" },
    screen: { name: "Main" },
    alias: { previousId: `before ${user}` },
  };
  for (const call of calls) analytics[call]({ userId: user, ...say[call] });
  await analytics.closeAndFlush({ timeout: 20_000 });
});
