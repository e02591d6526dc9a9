/**
 * One device with a stock y-websocket provider, driven by JSON lines.
 *
 *   node device.mjs 2|3
 *
 * Only `wait` and `stay` take time. The device ends when its stdin closes or on `leave`; killed, it vanishes without a goodbye.
 */
import { isDeepStrictEqual } from 'node:util'
import { WebSocket } from 'ws'
import * as Y from 'yjs'
import * as decoding from 'lib0/decoding'
import { Document } from './document.mjs'
import { eventCommands, eventConditions, events, happened, run, settle } from './driving.mjs'

const PROVIDERS = { 2: 'y-websocket-2', 3: 'y-websocket-3' }
const { WebsocketProvider } = await import(PROVIDERS[process.argv[2]])

const document = new Document()
const doc = document.doc
let provider = null
/** The end of our own clocks that came back from the server: what it has acknowledged. */
let acknowledged = 0
/** Frames the server sent, by type, since the start. */
const received = { sync: 0, awareness: 0, other: 0 }

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

const presence = () => Object.fromEntries([...provider.awareness.getStates().entries()].filter(([id]) => id !== doc.clientID))

/** What `wait` can wait for; each takes the argument of the command. */
const conditions = {
  ...document.conditions,
  ...eventConditions,
  synced: wanted => provider.synced === wanted,
  connected: wanted => provider.wsconnected === wanted,
  acknowledged: () => acknowledged === document.clock,
  acknowledged_past: clock => acknowledged > clock,
  present: ids => ids.every(id => provider.awareness.getStates().has(id)),
  presence: ({ id, state }) => isDeepStrictEqual(provider.awareness.getStates().get(id), state),
  absent: ids => ids.every(id => !provider.awareness.getStates().has(id))
}

const commands = {
  ...eventCommands,
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
  edit: ({ steps }) => document.edit(steps),
  transact: ({ steps }) => document.transact(steps),
  type: typing => document.type(typing),
  rest: () => document.rest(),
  presence: ({ state }) => provider.awareness.setLocalState(state),
  others: presence,
  content: () => document.content(),
  update: () => Buffer.from(Y.encodeStateAsUpdate(doc)).toString('base64'),
  progress: () => ({ client: doc.clientID, acknowledged, clock: document.clock, keys: [...document.map.keys()].length }),
  connection: () => ({
    connected: provider.wsconnected,
    synced: provider.synced,
    shouldConnect: provider.shouldConnect,
    openings: events.filter(event => event.name === 'opening').length,
    received
  }),
  wait: async ({ until, value = true, within = 10000 }) => {
    if (await settle(() => conditions[until](value), within)) return true
    const last = JSON.stringify({ events: events.slice(-12), acknowledged, clock: document.clock, content: document.content() }).slice(0, 2000)
    throw new Error(`${until} ${JSON.stringify(value).slice(0, 500)} was not reached in ${within} ms: ${last}`)
  },
  // true when nothing was closed or reopened for so long
  stay: async ({ milliseconds }) => {
    const before = events.length
    return !(await settle(() => !provider.wsconnected || events.length > before, milliseconds))
  },
  leave: () => {
    const socket = provider.ws
    provider.destroy()
    if (socket === null) process.exit(0)
    socket.once('close', () => process.exit(0)) // so that the goodbye is on its way
    setTimeout(() => process.exit(0), 2000)
  }
}

await run(commands)
