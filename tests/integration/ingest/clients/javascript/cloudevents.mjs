import { CloudEvent, Mode, emitterFor, httpTransport } from "cloudevents";
import { doAll } from "./jobs.mjs";

await doAll(async ({ address, key, user, account, calls }, errors) => {
  const sink = `${address}/api/v1/events`;
  const headers = { "x-write-key": key };
  const about = { type: "Report Exported", source: "https://billing.example.com", subject: account, userid: user };
  const events = calls.map((_, n) => new CloudEvent({ ...about, data: { n } }));

  // A third in each of the modes. The SDK's own transport shows no status: an answer with a body is a refusal.
  const binary = emitterFor(httpTransport(sink), { mode: Mode.BINARY });
  const structured = emitterFor(httpTransport(sink), { mode: Mode.STRUCTURED });
  const third = Math.ceil(events.length / 3);
  for (const event of events.splice(0, third)) errors.push((await binary(event, { headers })).body);
  for (const event of events.splice(0, third)) errors.push((await structured(event, { headers })).body);
  const answer = await fetch(sink, {
    method: "POST",
    headers: { "content-type": "application/cloudevents-batch+json", ...headers },
    body: JSON.stringify(events),
  });
  errors.push(answer.status === 204 ? "" : await answer.text());
  errors.splice(0, errors.length, ...errors.filter(Boolean));
});
