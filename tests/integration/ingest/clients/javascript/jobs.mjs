// What a product does with its client: jobs on standard input, each with a client of its own, all at once. Prints how
// many calls each made, and what its client told it went wrong.
import { text } from "node:stream/consumers";

export async function doAll(work) {
  const jobs = JSON.parse(await text(process.stdin));
  const done = await Promise.all(
    jobs.map(async (job) => {
      const errors = [];
      await work(job, errors);
      return [job.name, { calls: job.calls.length, errors }];
    }),
  );
  console.log(JSON.stringify(Object.fromEntries(done)));
}
