/**
 * One device with a stock y-websocket provider, driven by JSON lines.
 *
 *   node device.mjs 2|3
 *
 * Each line on stdin is `{"id": 1, "do": "<command>", ...arguments}`. Each line on stdout answers one of them:
 * `{"id": 1, "value": ...}` or `{"id": 1, "error": "..."}`. Commands run in the order they come; only `wait` and `stay`
 * take time. The device ends when its stdin closes or on `leave`; killed, it vanishes without a goodbye.
 */
import { createInterface } from 'node:readline'
import { isDeepStrictEqual } from 'node:util'
import { WebSocket } from 'ws'
import * as Y from 'yjs'
import * as decoding from 'lib0/decoding'

const PROVIDERS = { 2: 'y-websocket-2', 3: 'y-websocket-3' }
const { WebsocketProvider } = await import(PROVIDERS[process.argv[2]])

const doc = new Y.Doc()
const text = doc.getText('text')
const map = doc.getMap('map')
const array = doc.getArray('array')
const xml = doc.getXmlFragment('xml')

/** What happened to the connection, in order: `{name, ...details}`. */
const events = []
/** Checks of `wait` and `stay` that are under way; each is called after anything happened. */
const watchers = new Set()
let provider = null
/** The end of our own clocks that came back from the server: what it has acknowledged. */
let acknowledged = 0
/** Frames the server sent, by type, since the start. */
const received = { sync: 0, awareness: 0, other: 0 }

const happened = (name, details = {}) => {
  if (name !== null) events.push({ name, ...details })
  for (const watcher of [...watchers]) watcher()
}

/** Stock `ws`, that also looks at what the server sends back of our own edits. */
class ObservedWebSocket extends WebSocket {
  constructor (...args) {
    super(...args)
    happened('opening')
    this.on('message', data => {
      observe(new Uint8Array(data))
      happened(null)
    })
  }
}

const observe = frame => {
  const decoder = decoding.createDecoder(frame)
  const type = decoding.readVarUint(decoder)
  if (type !== 0) {
    received[type === 1 ? 'awareness' : 'other'] += 1
    return
  }
  received.sync += 1
  if (decoding.readVarUint(decoder) !== 2) return
  for (const struct of Y.decodeUpdate(decoding.readVarUint8Array(decoder)).structs) {
    if (struct.id.client === doc.clientID) acknowledged = Math.max(acknowledged, struct.id.clock + struct.length)
  }
}

const ownClock = () => Y.getState(doc.store, doc.clientID)

/** The deleted clocks of a document as `{client: [[start, end], ...]}`, sorted and joined. */
const deletions = update => {
  const deleted = {}
  const clients = [...Y.decodeUpdate(update).ds.clients.entries()].sort((a, b) => a[0] - b[0])
  for (const [client, items] of clients) {
    const joined = []
    for (const { clock, len } of items.sort((a, b) => a.clock - b.clock)) {
      const last = joined.at(-1)
      if (last !== undefined && last[1] >= clock) last[1] = Math.max(last[1], clock + len)
      else joined.push([clock, clock + len])
    }
    deleted[client] = joined
  }
  return deleted
}

/**
 * The document as plain values, read from a fresh `Doc` that was given `encodeStateAsUpdate`: two devices hold the
 * same document exactly when these are equal, tombstones included.
 */
const content = () => {
  const update = Y.encodeStateAsUpdate(doc)
  const copy = new Y.Doc()
  Y.applyUpdate(copy, update)
  const values = {
    text: copy.getText('text').toDelta(),
    map: copy.getMap('map').toJSON(),
    array: copy.getArray('array').toJSON(),
    xml: copy.getXmlFragment('xml').toString(),
    vector: Object.fromEntries([...Y.decodeStateVector(Y.encodeStateVector(copy)).entries()].sort((a, b) => a[0] - b[0])),
    deletions: deletions(update),
    pending: doc.store.pendingStructs !== null || doc.store.pendingDs !== null
  }
  copy.destroy()
  return values
}

const presence = () => Object.fromEntries([...provider.awareness.getStates().entries()].filter(([id]) => id !== doc.clientID))

/** What `wait` can wait for; each takes the argument of the command. */
const conditions = {
  synced: wanted => provider.synced === wanted,
  connected: wanted => provider.wsconnected === wanted,
  acknowledged: () => acknowledged === ownClock(),
  acknowledged_past: clock => acknowledged > clock,
  vector: wanted => Object.entries(wanted).every(([client, clock]) => Y.getState(doc.store, Number(client)) >= clock),
  map_has: key => map.has(key),
  map_lacks: key => !map.has(key),
  text: wanted => text.toString() === wanted,
  present: ids => ids.every(id => provider.awareness.getStates().has(id)),
  presence: ({ id, state }) => isDeepStrictEqual(provider.awareness.getStates().get(id), state),
  absent: ids => ids.every(id => !provider.awareness.getStates().has(id)),
  event: wanted => events.some(event => Object.entries(wanted).every(([key, value]) => event[key] === value)),
  events: ({ name, count }) => events.filter(event => event.name === name).length >= count
}

const settle = (check, milliseconds) => new Promise(resolve => {
  const end = reached => {
    watchers.delete(watcher)
    clearTimeout(timer)
    resolve(reached)
  }
  const watcher = () => { if (check()) end(true) }
  const timer = setTimeout(() => end(false), milliseconds)
  watchers.add(watcher)
  watcher()
})

const append = (paragraph, words) => {
  const element = new Y.XmlElement(paragraph)
  element.insert(0, [new Y.XmlText(words)])
  xml.push([element])
}

/** One edit each: `[type, operation, ...arguments]`. */
const edits = {
  'text insert': (index, words, attributes) => text.insert(index, words, attributes),
  'text append': words => text.insert(text.length, words),
  'text delete': (index, length) => text.delete(index, length),
  'text format': (index, length, attributes) => text.format(index, length, attributes),
  'map set': (key, value) => map.set(key, value),
  'map delete': key => map.delete(key),
  'map nest': (key, inner, value) => {
    if (!(map.get(key) instanceof Y.Map)) map.set(key, new Y.Map())
    map.get(key).set(inner, value)
  },
  'array push': value => array.push([value]),
  'array insert': (index, value) => array.insert(index, [value]),
  'array delete': (index, length) => array.delete(index, length),
  'xml append': append,
  'xml delete': (index, length) => xml.delete(index, length),
  'xml attribute': (index, name, value) => xml.get(index).setAttribute(name, value)
}

let typing = null

const commands = {
  open: ({ url, library, token, awareness = true, connect = true }) => {
    provider = new WebsocketProvider(url, library, doc, {
      connect: false,
      protocols: ['yjs', `bearer.${token}`],
      WebSocketPolyfill: ObservedWebSocket,
      disableBc: true // devices would otherwise talk to each other behind the server's back
    })
    if (!awareness) provider.awareness.setLocalState(null)
    provider.on('status', ({ status }) => happened('status', { status }))
    provider.on('sync', synced => happened('sync', { synced }))
    provider.on('connection-close', event => happened('close', { code: event?.code ?? null, reason: event?.reason ?? null }))
    provider.on('connection-error', () => happened('error'))
    if (process.argv[2] === '3') provider.on('closed', ({ code, reason }) => happened('closed', { code, reason }))
    provider.awareness.on('change', () => happened(null))
    doc.on('afterTransaction', () => happened(null))
    if (connect) provider.connect()
    return { client: doc.clientID }
  },
  connect: () => provider.connect(),
  disconnect: () => provider.disconnect(),
  edit: ({ steps }) => {
    for (const [name, ...args] of steps) edits[name](...args)
    return ownClock()
  },
  transact: ({ steps }) => {
    doc.transact(() => { for (const [name, ...args] of steps) edits[name](...args) })
    return ownClock()
  },
  // writes `count` numbered keys, `burst` at a time, one burst a turn of the event loop, until done or told to `rest`
  type: ({ prefix, count, burst }) => {
    let written = 0
    typing = setInterval(() => {
      for (let n = 0; n < burst && written < count; n++) map.set(`${prefix}${written++}`, written)
      if (written >= count) clearInterval(typing)
    }, 1)
  },
  rest: () => { clearInterval(typing) },
  presence: ({ state }) => provider.awareness.setLocalState(state),
  others: presence,
  content,
  update: () => Buffer.from(Y.encodeStateAsUpdate(doc)).toString('base64'),
  progress: () => ({ client: doc.clientID, acknowledged, clock: ownClock(), keys: [...map.keys()].length }),
  events: () => events,
  connection: () => ({
    connected: provider.wsconnected,
    synced: provider.synced,
    shouldConnect: provider.shouldConnect,
    openings: events.filter(event => event.name === 'opening').length,
    received
  }),
  wait: async ({ until, value = true, within = 10000 }) => {
    if (await settle(() => conditions[until](value), within)) return true
    const last = JSON.stringify({ events: events.slice(-12), acknowledged, clock: ownClock(), content: content() }).slice(0, 2000)
    throw new Error(`${until} ${JSON.stringify(value).slice(0, 500)} was not reached in ${within} ms: ${last}`)
  },
  // answers after the next thing that happens, or after 100 ms
  turn: async () => {
    let calls = 0
    return settle(() => calls++ > 0, 100)
  },
  // true when nothing was closed or reopened for so long
  stay: async ({ milliseconds }) => {
    const before = events.length
    return !(await settle(() => !provider.wsconnected || events.length > before, milliseconds))
  },
  // true when nothing was opened for so long
  stay_closed: async ({ milliseconds }) => {
    const openings = () => events.filter(event => event.name === 'opening').length
    const before = openings()
    return !(await settle(() => openings() > before, milliseconds))
  },
  leave: () => {
    const socket = provider.ws
    provider.destroy()
    if (socket === null) process.exit(0)
    socket.once('close', () => process.exit(0)) // so that the goodbye is on its way
    setTimeout(() => process.exit(0), 2000)
  }
}

const answer = message => process.stdout.write(JSON.stringify(message) + '\n')

for await (const line of createInterface({ input: process.stdin })) {
  const { id, do: name, ...args } = JSON.parse(line)
  try {
    answer({ id, value: (await commands[name](args)) ?? null })
  } catch (error) {
    answer({ id, error: String(error?.stack ?? error) })
  }
}
process.exit(0)
