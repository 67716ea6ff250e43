// Walks Autobahn|JS over a WAMP router, one observation after the other; runs in Node (node.mjs) and in a browser (browser.mjs).
//
// Stops belong to features. Features of client roles are toured because this client announces them in its HELLO; what it
// announces without a stop is an observation of its own. Retention and the meta API are the router's and toured always.

const CODECS = { json: "JSONSerializer", msgpack: "MsgpackSerializer", cbor: "CBORSerializer" };
const HELLO = 1, GOODBYE = 6, ERROR = 8, UNSUBSCRIBED = 35, EVENT = 36, CANCEL = 49, RESULT = 50, UNREGISTERED = 67;
const INVOCATION = 68, INTERRUPT = 69;

const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const NOTHING = Symbol("nothing");
const within = (promise, milliseconds) => Promise.race([promise, sleep(milliseconds).then(() => NOTHING)]);

async function until(condition, milliseconds = 3000) {
  const end = Date.now() + milliseconds;
  while (Date.now() < end) {
    if (condition()) return true;
    await sleep(20);
  }
  return false;
}

// What came of it, as something that JSON can hold.
async function outcome(promise, milliseconds = 3000) {
  try {
    const result = await within(promise, milliseconds);
    return result === NOTHING ? { "no answer": true } : { result: plain(result) };
  } catch (error) {
    return error?.error ? { error: error.error } : { failed: String(error?.message ?? error) };
  }
}

function plain(value) {
  if (value === undefined) return null;
  if (typeof value === "bigint") return Number(value);
  if (value instanceof Uint8Array) return { binary: [...value].map((it) => it.toString(16).padStart(2, "0")).join("") };
  if (Array.isArray(value)) return value.map(plain);
  if (value && typeof value === "object") {
    if (Array.isArray(value.args) && value.kwargs) return { args: plain(value.args), kwargs: plain(value.kwargs) };
    return Object.fromEntries(Object.entries(value).sort().map(([key, it]) => [key, plain(it)]));
  }
  return value;
}

// Promises of the platform that also pass progress on, which the library expects of the ones that it is given.
function deferred() {
  const it = {};
  it.promise = new Promise((resolve, reject) => Object.assign(it, { resolve, reject }));
  it.promise.catch(() => {});
  it.notify = (value) => it.promise.progressed?.(value);
  return it;
}

class Tour {
  constructor(autobahn, url, realm, codec) {
    Object.assign(this, { autobahn, url, realm, codec, parties: [], names: new Map() });
  }

  async join(name, realm = this.realm) {
    const { autobahn, url } = this;
    const connection = new autobahn.Connection({
      url,
      realm,
      serializers: [new autobahn.serializer[CODECS[this.codec]]()],
      max_retries: 0,
      use_deferred: deferred,
      on_user_error: () => {},
      on_internal_error: () => {},
    });
    const party = { connection, seen: [], left: null };
    party.joined = new Promise((done, fail) => {
      connection.onopen = (session, details) => {
        const receive = session._socket.onmessage;
        session._socket.onmessage = (message) => {
          party.seen.push(message);
          receive(message);
        };
        Object.assign(party, { session, details, id: session.id });
        this.names.set(session.id, name);
        done(party);
      };
      connection.onclose = (reason, details) => {
        party.left = details?.reason ?? reason;
        fail({ error: party.left });
        return true;
      };
    });
    party.joined.catch(() => {});
    party.of = (type) => party.seen.filter((message) => message[0] === type);
    party.call = (procedure, args, kwargs, options) => party.session.call(procedure, args, kwargs, options);
    party.register = (procedure, endpoint, options) => party.session.register(procedure, endpoint, options);
    party.send = (topic, args, options, kwargs) =>
      party.session.publish(topic, args, kwargs, { acknowledge: true, ...options });
    party.listen = async (topic, options) => {
      const got = [];
      await party.session.subscribe(topic, (args) => got.push(plain(args)), options);
      return got;
    };
    // Everything that the router had for this session has arrived.
    party.flush = () => party.call("tour.nobody.answers.this").catch(() => {});
    party.drop = () => connection._transport.close();
    this.parties.push(party);
    connection.open();
    if ((await within(party.joined, 5000)) === NOTHING) throw new Error("no WELCOME");
    return party;
  }

  async close() {
    for (const party of this.parties) {
      try {
        if (party.left === null) party.connection.close();
      } catch {
        // It is gone already.
      }
    }
    await until(() => this.parties.every((party) => party.left !== null || !party.session), 2000);
  }
}

const STOPS = [];
const stop = (name, feature, visit) => STOPS.push({ name, feature, visit });

stop("welcome", "basic", async (tour) => {
  const one = await tour.join("one");
  const { authrole, authmethod, authid } = one.details;
  return { authrole, authmethod, authid_is_text: typeof authid === "string" && authid !== "" };
});

stop("call.payloads", "basic", async (tour) => {
  const [caller, callee] = [await tour.join("caller"), await tour.join("callee")];
  await callee.register("tour.echo", (args, kwargs) => new tour.autobahn.Result(args, kwargs));
  const values = [0, -1, 2 ** 53 - 1, 1.5, "", "é😀z", null, true, [], {}, [[1], { a: [null] }]];
  const together = await outcome(caller.call("tour.echo", values, { key: "v" }));
  return {
    same: JSON.stringify(together.result?.args) === JSON.stringify(plain(values)) && together.result.kwargs.key === "v",
    binary: await outcome(caller.call("tour.echo", [new Uint8Array([0, 255, 16])])),
    nothing: await outcome(caller.call("tour.echo")),
    one: await outcome(caller.call("tour.echo", [[1, "many"]])),
  };
});

stop("call.error", "basic", async (tour) => {
  const [caller, callee] = [await tour.join("caller"), await tour.join("callee")];
  await callee.register("tour.fail", () => {
    throw new tour.autobahn.Error("tour.error.custom", [1, "two"], { reason: "because" });
  });
  try {
    await caller.call("tour.fail");
    return "no error";
  } catch (error) {
    return { error: error.error, args: plain(error.args), kwargs: plain(error.kwargs) };
  }
});

stop("call.no_such_procedure", "basic", async (tour) => outcome((await tour.join("caller")).call("tour.absent")));

stop("call.invalid_uri", "basic", async (tour) => {
  const caller = await tour.join("caller");
  const answer = await outcome(caller.call("tour..empty"), 2000);
  return { answer: answer.failed ? "(rejected)" : answer, session_lives: caller.left === null };
});

stop("call.in_order", "basic", async (tour) => {
  const [caller, callee] = [await tour.join("caller"), await tour.join("callee")];
  const got = [];
  await callee.register("tour.note", ([number]) => (got.push(number), number));
  const numbers = Array.from({ length: 50 }, (_, at) => at);
  const results = await Promise.all(numbers.map((number) => caller.call("tour.note", [number])));
  return { invocations: `${got}` === `${numbers}`, results: `${results}` === `${numbers}` };
});

stop("register.twice", "basic", async (tour) => {
  const [one, two] = [await tour.join("one"), await tour.join("two")];
  await one.register("tour.taken", () => 1);
  return outcome(two.register("tour.taken", () => 2));
});

stop("register.unregister", "basic", async (tour) => {
  const [caller, callee] = [await tour.join("caller"), await tour.join("callee")];
  const registration = await callee.register("tour.brief", () => 1);
  const before = await outcome(caller.call("tour.brief"));
  await registration.unregister();
  return { before, after: await outcome(caller.call("tour.brief")) };
});

stop("call.callee_leaves", "basic", async (tour) => {
  const [caller, callee] = [await tour.join("caller"), await tour.join("callee")];
  let begun = false;
  await callee.register("tour.never", () => ((begun = true), new Promise(() => {})));
  const call = outcome(caller.call("tour.never"));
  await until(() => begun);
  callee.drop();
  return call;
});

for (const role of ["caller", "callee"]) {
  stop(`identification.of_${role}`, `${role}.caller_identification`, async (tour) => {
    const [caller, callee] = [await tour.join("caller"), await tour.join("callee")];
    await callee.register("tour.who", (args, kwargs, details) => [
      details.caller === caller.id,
      details.caller_authid === caller.details.authid,
      details.caller_authrole === caller.details.authrole,
    ]);
    return outcome(caller.call("tour.who", [], {}, { disclose_me: true }));
  });

  stop(`progress.of_${role}`, `${role}.progressive_call_results`, async (tour) => {
    const [caller, callee] = [await tour.join("caller"), await tour.join("callee")];
    await callee.register("tour.count", async ([number], kwargs, details) => {
      for (let at = 0; at < number; at += 1) details.progress?.([at]);
      return "done";
    });
    const got = [];
    const call = caller.call("tour.count", [3], {}, { receive_progress: true });
    call.progressed = (it) => got.push(plain(it));
    const asked = await outcome(call);
    const invoked = callee.of(INVOCATION).at(-1)?.[3].receive_progress ?? null;
    return { asked, progress: got, receive_progress: invoked, unasked: await outcome(caller.call("tour.count", [3])) };
  });
}

for (const mode of ["skip", "kill", "killnowait"]) {
  stop(`cancel.${mode}`, "caller.call_canceling", async (tour) => {
    const [caller, callee] = [await tour.join("caller"), await tour.join("callee")];
    let begun = false, ended = false;
    await callee.register("tour.slow", async () => {
      begun = true;
      await sleep(700);
      ended = true;
      return "late";
    });
    const call = caller.call("tour.slow");
    const saw = outcome(call, 2000);
    await until(() => begun);
    // By hand: the library forgets the call before the answer comes.
    const [request] = Object.keys(caller.session._call_reqs);
    caller.session._send_wamp([CANCEL, Number(request), { mode }]);
    const result = await saw;
    await until(() => ended);
    await callee.flush();
    await caller.flush();
    const answers = caller.seen.filter((it) =>
      (it[0] === RESULT && it[1] === Number(request)) || (it[0] === ERROR && it[2] === Number(request)));
    return { caller: result, answers: answers.length, interrupts: callee.of(INTERRUPT).length };
  });
}

stop("registration.prefix", "callee.pattern_based_registration", async (tour) => {
  const [caller, callee] = [await tour.join("caller"), await tour.join("callee")];
  await callee.register("tour.a", (args, kwargs, details) => details.procedure, { match: "prefix" });
  const saw = {};
  for (const name of ["tour.a", "tour.a.b", "tour.ab", "tour.b"]) saw[name] = await outcome(caller.call(name));
  return saw;
});

stop("registration.wildcard", "callee.pattern_based_registration", async (tour) => {
  const [caller, callee] = [await tour.join("caller"), await tour.join("callee")];
  await callee.register("tour..c", (args, kwargs, details) => details.procedure, { match: "wildcard" });
  const saw = {};
  for (const name of ["tour.b.c", "tour.b", "tour.b.d", "tour.b.c.d"]) saw[name] = await outcome(caller.call(name));
  return saw;
});

for (const invoke of ["first", "last", "roundrobin", "random"]) {
  stop(`shared.${invoke}`, "callee.shared_registration", async (tour) => {
    const caller = await tour.join("caller");
    const names = ["first", "second", "third"];
    for (const name of names) await (await tour.join(name)).register("tour.shared", () => name, { invoke });
    const answers = [];
    for (let at = 0; at < 6; at += 1) answers.push(await caller.call("tour.shared"));
    return invoke === "random" ? answers.every((it) => names.includes(it)) : answers;
  });
}

stop("registration.revoked", "callee.registration_revocation", async (tour) => {
  const [admin, callee] = [await tour.join("admin"), await tour.join("callee")];
  const registration = await callee.register("tour.revoked", () => 1);
  const removed = await outcome(admin.call("wamp.registration.remove_callee", [registration.id, callee.id]));
  await within(callee.flush(), 1000);
  return { removed, notices: callee.of(UNREGISTERED).length, then: await outcome(admin.call("tour.revoked")) };
});

stop("publish.acknowledged", "basic", async (tour) => {
  const [publisher, subscriber] = [await tour.join("publisher"), await tour.join("subscriber")];
  const got = await subscriber.listen("tour.topic");
  const publication = await publisher.send("tour.topic", [1, "two", { a: [null] }]);
  await subscriber.flush();
  return { got, same_publication: subscriber.of(EVENT).map((it) => it[2] === publication.id) };
});

stop("publish.silent_and_in_order", "basic", async (tour) => {
  const [publisher, subscriber] = [await tour.join("publisher"), await tour.join("subscriber")];
  const got = await subscriber.listen("tour.topic");
  for (let number = 0; number < 100; number += 1) publisher.session.publish("tour.topic", [number]);
  await until(() => got.length >= 100);
  return { in_order: got.every(([number], at) => number === at) && got.length === 100 };
});

stop("subscribe.unsubscribe", "basic", async (tour) => {
  const [publisher, subscriber] = [await tour.join("publisher"), await tour.join("subscriber")];
  const got = [];
  const subscription = await subscriber.session.subscribe("tour.topic", ([it]) => got.push(it));
  await publisher.send("tour.topic", [1]);
  await subscriber.flush();
  await subscription.unsubscribe();
  await publisher.send("tour.topic", [2]);
  await subscriber.flush();
  return got;
});

stop("exclude_me", "publisher.publisher_exclusion", async (tour) => {
  const publisher = await tour.join("publisher");
  const got = await publisher.listen("tour.topic");
  await publisher.send("tour.topic", ["default"]);
  await publisher.send("tour.topic", ["true"], { exclude_me: true });
  await publisher.send("tour.topic", ["false"], { exclude_me: false });
  await publisher.flush();
  return got;
});

stop("lists.session", "publisher.subscriber_blackwhite_listing", async (tour) => {
  const publisher = await tour.join("publisher");
  const [one, two] = [await tour.join("one"), await tour.join("two")];
  const [first, second] = [await one.listen("tour.topic"), await two.listen("tour.topic")];
  await publisher.send("tour.topic", ["exclude one"], { exclude: [one.id] });
  await publisher.send("tour.topic", ["eligible one"], { eligible: [one.id] });
  await publisher.send("tour.topic", ["both"], { eligible: [one.id, two.id], exclude: [one.id] });
  await publisher.send("tour.topic", ["eligible nobody"], { eligible: [] });
  await Promise.all([one.flush(), two.flush()]);
  return { one: first, two: second };
});

stop("lists.authid", "publisher.subscriber_blackwhite_listing", async (tour) => {
  const publisher = await tour.join("publisher");
  const [one, two] = [await tour.join("one"), await tour.join("two")];
  const [first, second] = [await one.listen("tour.topic"), await two.listen("tour.topic")];
  await publisher.send("tour.topic", ["exclude one"], { exclude_authid: [one.details.authid] });
  await publisher.send("tour.topic", ["eligible one"], { eligible_authid: [one.details.authid] });
  await Promise.all([one.flush(), two.flush()]);
  return { one: first, two: second };
});

stop("lists.authrole", "publisher.subscriber_blackwhite_listing", async (tour) => {
  const [publisher, one] = [await tour.join("publisher"), await tour.join("one")];
  const got = await one.listen("tour.topic");
  await publisher.send("tour.topic", ["eligible own"], { eligible_authrole: [one.details.authrole] });
  await publisher.send("tour.topic", ["eligible other"], { eligible_authrole: ["other"] });
  await publisher.send("tour.topic", ["exclude own"], { exclude_authrole: [one.details.authrole] });
  await one.flush();
  return got;
});

for (const role of ["publisher", "subscriber"]) {
  stop(`publisher_identification.of_${role}`, `${role}.publisher_identification`, async (tour) => {
    const [publisher, subscriber] = [await tour.join("publisher"), await tour.join("subscriber")];
    await subscriber.listen("tour.topic");
    await publisher.send("tour.topic", [1], { disclose_me: true });
    await subscriber.flush();
    const { authid, authrole } = publisher.details;
    return subscriber.of(EVENT).map(([, , , it]) => [
      it.publisher === publisher.id, it.publisher_authid === authid, it.publisher_authrole === authrole,
    ]);
  });
}

for (const [match, topic, topics] of [
  ["prefix", "tour.a", ["tour.a", "tour.a.b", "tour.ab", "tour.b"]],
  ["wildcard", "tour..c", ["tour.b.c", "tour.b", "tour.b.d", "tour.b.c.d"]],
]) {
  stop(`subscription.${match}`, "subscriber.pattern_based_subscription", async (tour) => {
    const [publisher, subscriber] = [await tour.join("publisher"), await tour.join("subscriber")];
    await subscriber.listen(topic, { match });
    for (const it of topics) await publisher.send(it, [it]);
    await subscriber.flush();
    return subscriber.of(EVENT).map(([, , , details, args]) => [details.topic ?? null, plain(args)]);
  });
}

stop("subscription.revoked", "subscriber.subscription_revocation", async (tour) => {
  const [admin, subscriber] = [await tour.join("admin"), await tour.join("subscriber")];
  const subscription = await subscriber.session.subscribe("tour.topic", () => {});
  const removed = await outcome(admin.call("wamp.subscription.remove_subscriber", [subscription.id, subscriber.id]));
  await within(subscriber.flush(), 1000);
  return { removed, notices: subscriber.of(UNSUBSCRIBED).length };
});

stop("retention.last", "router: event_retention", async (tour) => {
  const [publisher, one, two] = [await tour.join("publisher"), await tour.join("one"), await tour.join("two")];
  const topic = `tour.retained.${tour.codec}`;
  await publisher.send(topic, ["old"], { retain: true });
  await publisher.send(topic, ["new"], { retain: true });
  const asked = await one.listen(topic, { get_retained: true });
  const unasked = await two.listen(topic);
  await Promise.all([one.flush(), two.flush()]);
  return { asked, unasked, retained: one.of(EVENT).map((it) => it[3].retained ?? null) };
});

stop("meta.session", "router: session_meta_api", async (tour) => {
  const [one, two] = [await tour.join("one"), await tour.join("two")];
  const got = await outcome(one.call("wamp.session.get", [two.id]));
  const count = await outcome(one.call("wamp.session.count"));
  const killed = await outcome(one.call("wamp.session.kill", [two.id], { reason: "tour.reason" }));
  await until(() => two.left !== null, 1500);
  return { count, got: got.result ? got.result.session === two.id : got, killed, reason: two.left };
});

stop("meta.registration", "router: registration_meta_api", async (tour) => {
  const one = await tour.join("one");
  const registration = await one.register("tour.exact", () => 1);
  const found = await outcome(one.call("wamp.registration.lookup", ["tour.exact"]));
  return { lookup: found.result ? found.result === registration.id : found };
});

stop("testament", "router: testament_meta_api", async (tour) => {
  const [watcher, other] = [await tour.join("watcher"), await tour.join("other")];
  const got = await watcher.listen("tour.testament");
  const added = await outcome(other.call("wamp.session.add_testament", ["tour.testament", ["bye"], {}]));
  other.connection.close();
  await until(() => got.length, 1500);
  return { added: typeof added.result === "number" ? "(a number)" : added, got };
});

stop("goodbye", "basic", async (tour) => {
  const one = await tour.join("one");
  one.connection.close("tour.leaving", "see you");
  await until(() => one.left !== null);
  return { answers: one.of(GOODBYE).map((it) => it[2]) };
});

stop("realm.unknown", "basic", async (tour) => outcome(tour.join("one", "tour.no.such.realm")));

// The features in this client's HELLO, as `role.feature`: read from the frame that it sends.
async function announced(autobahn, url, realm) {
  const Real = globalThis.WebSocket;
  let hello = null;
  globalThis.WebSocket = class extends Real {
    send(data) {
      hello ??= JSON.parse(data);
      super.send(data);
    }
  };
  const tour = new Tour(autobahn, url, realm, "json");
  await tour.join("one");
  await tour.close();
  globalThis.WebSocket = Real;
  if (hello[0] !== HELLO) throw new Error("the first message was no HELLO");
  return Object.entries(hello[2].roles)
    .flatMap(([role, it]) => Object.keys(it.features ?? {}).filter((key) => it.features[key]).map((key) => `${role}.${key}`))
    .sort();
}

export async function walk({ autobahn, url, realm = "realm1", client, print, only = "" }) {
  print({ client });
  const features = await announced(autobahn, url, realm);
  const toured = new Set(STOPS.map((it) => it.feature));
  for (const codec of Object.keys(CODECS)) {
    const show = (stopped, feature, saw) => print({ stop: stopped, codec, feature, saw });
    if (!only) {
      show("hello.announces", "basic", features);
      show("hello.not_toured", "basic", features.filter((feature) => !toured.has(feature)));
    }
    for (const { name, feature, visit } of STOPS) {
      if (!name.includes(only)) continue;
      const role = /^(caller|callee|publisher|subscriber)\./.test(feature);
      if (role && !features.includes(feature)) {
        show(name, feature, "(this client does not announce the feature)");
        continue;
      }
      const tour = new Tour(autobahn, url, realm, codec);
      let saw;
      try {
        saw = await within(visit(tour), 15000);
        if (saw === NOTHING) saw = { "stop failed": "too slow" };
      } catch (error) {
        saw = { "stop failed": String(error?.error ?? error?.message ?? error) };
      }
      await tour.close();
      show(name, feature, saw);
    }
  }
}
