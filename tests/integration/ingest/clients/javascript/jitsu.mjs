import { jitsuAnalytics } from "@jitsu/js";
import { doAll } from "./jobs.mjs";

await doAll(async ({ address, key, user, account, calls, padding }, errors) => {
  const errorPolicy = (error) => errors.push(error);
  // It takes no key but one of the form id:secret.
  const analytics = jitsuAnalytics({ host: address, writeKey: `${key}:-`, s2s: true, errorPolicy });
  const say = {
    identify: () => analytics.identify(user, { email: `${user}@example.com` }),
    group: () => analytics.group(account, { plan: "enterprise" }),
    track: () => analytics.track("Report Exported", { padding }),
    page: () => analytics.page({ name: "Home" }),
  };
  for (const call of calls) await say[call]();
});
