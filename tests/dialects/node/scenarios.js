"use strict";

// Runs one scenario of a module: `node dcrf.js URL NAME`. It exits with 0 if the scenario has succeeded.

const WAIT = 30_000;

/** Resolves once `emitter` has emitted `name`, with the first argument. */
function once(emitter, name) {
  return new Promise((resolve) => emitter.once(name, resolve));
}

/** What `promise` is rejected with. It is an error if it is not. */
async function rejected(promise) {
  const unexpected = {};
  const reason = await promise.then(() => unexpected, (error) => error);
  if (reason === unexpected) throw new Error("It should have been rejected.");
  return reason;
}

async function main(scenarios) {
  const [url, name] = process.argv.slice(2);
  if (!Object.hasOwn(scenarios, name)) throw new Error(`There is no scenario ${name}.`);
  setTimeout(() => fail(new Error(`Scenario ${name} has not ended in time.`)), WAIT);
  await scenarios[name](url);
}

function fail(error) {
  console.error(error);
  process.exit(1);
}

exports.once = once;
exports.rejected = rejected;
exports.run = (scenarios) => main(scenarios).then(() => process.exit(0), fail);
