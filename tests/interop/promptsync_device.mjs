/**
 * One device on promptsync.v1, driven by JSON lines, with any number of libraries on one socket.
 *
 *   node promptsync_device.mjs
 *
 * Commands about a document take `at`: the number that `open` or `add` returned, 0 if left out.
 */
import { isDeepStrictEqual } from 'node:util'
import { WebSocket } from 'ws'
import { Awareness } from 'y-protocols/awareness'
import * as Y from 'yjs'
import { contentOf, Document } from './document.mjs'
import { eventCommands, eventConditions, events, happened, run, settle } from './driving.mjs'
import { Connection } from './promptsync.mjs'

let connection = null
/** `{document, awareness, channel}` of each library. */
const libraries = []

const add = (library, awareness) => {
  const at = libraries.length
  const document = new Document()
  const presence = new Awareness(document.doc)
  if (!awareness) presence.setLocalState(null)
  const channel = connection.open(library, {
    doc: document.doc,
    awareness: presence,
    told: (name, details) => happened(name, { at, ...details })
  })
  presence.on('change', () => happened(null))
  document.doc.on('afterTransaction', () => happened(null))
  libraries.push({ document, awareness: presence, channel })
  return { at, client: document.doc.clientID }
}

const others = ({ document, awareness }) =>
  Object.fromEntries([...awareness.getStates().entries()].filter(([id]) => id !== document.doc.clientID))

const progress = ({ document, channel }) => ({
  client: document.doc.clientID,
  acknowledged: channel.acknowledged.length,
  waiting: channel.unanswered.size + channel.waiting.length,
  refused: channel.refused,
  clock: document.clock,
  keys: [...document.map.keys()].length,
  state: channel.state,
  role: channel.role,
  epoch: channel.epoch,
  cursor: channel.cursor,
  parts: { sent: channel.partsSent, received: channel.partsReceived }
})

const base64 = update => Buffer.from(update).toString('base64')

/** Whether `update` brings nothing that `doc` does not hold, deletions included. */
const covers = (doc, update) => {
  const copy = new Y.Doc()
  Y.applyUpdate(copy, Y.encodeStateAsUpdate(doc))
  Y.applyUpdate(copy, Buffer.from(update, 'base64'))
  return isDeepStrictEqual(contentOf(copy), contentOf(doc))
}

/** What `wait` can wait for, of one library; each takes that and the argument of the command. */
const conditions = {
  synced: ({ channel }, wanted) => channel.synced === wanted,
  connected: (library, wanted) => connection.greeted === wanted,
  acknowledged: ({ channel }) => channel.unanswered.size + channel.waiting.length === 0,
  acknowledged_past: ({ channel }, count) => channel.acknowledged.length > count,
  cursor: ({ channel }, wanted) => channel.cursor === wanted,
  state: ({ channel }, wanted) => channel.state === wanted,
  present: ({ awareness }, ids) => ids.every(id => awareness.getStates().has(id)),
  presence: ({ awareness }, { id, state }) => isDeepStrictEqual(awareness.getStates().get(id), state),
  absent: ({ awareness }, ids) => ids.every(id => !awareness.getStates().has(id))
}

const holds = (until, library, value) => {
  if (until in conditions) return conditions[until](library, value)
  return (library.document.conditions[until] ?? eventConditions[until])(value)
}

/** Commands about one library. */
const ofLibrary = {
  edit: ({ document }, { steps }) => document.edit(steps),
  transact: ({ document }, { steps }) => document.transact(steps),
  type: ({ document }, typing) => document.type(typing),
  rest: ({ document }) => document.rest(),
  presence: ({ awareness }, { state }) => awareness.setLocalState(state),
  others,
  progress,
  content: ({ document }) => document.content(),
  update: ({ document }) => base64(Y.encodeStateAsUpdate(document.doc)),
  covers: ({ document }, { update }) => covers(document.doc, update),
  acknowledged: ({ channel }) => base64(Y.mergeUpdates([new Uint8Array([0, 0]), ...channel.acknowledged])),
  status: ({ channel }) => channel.askStatus(),
  hold: ({ channel }) => { channel.held = true },
  close: ({ channel }) => channel.close(),
  reopen: ({ channel }) => channel.reopen(),
  wait: async (library, { until, value = true, within = 10000 }) => {
    if (await settle(() => holds(until, library, value), within)) return true
    const last = JSON.stringify({ events: events.slice(-12), ...progress(library), content: library.document.content() }).slice(0, 2000)
    throw new Error(`${until} ${JSON.stringify(value).slice(0, 500)} was not reached in ${within} ms: ${last}`)
  }
}

const commands = {
  ...eventCommands,
  ...Object.fromEntries(
    Object.entries(ofLibrary).map(([name, command]) => [name, ({ at = 0, ...args }) => command(libraries[at], args)])
  ),
  open: ({ url, library, token, tokenBy = 'hello', device, awareness = true, connect = true }) => {
    connection = new Connection({ url, token, tokenBy, device, WebSocket, told: happened, firstPause: 100 })
    const opened = add(library, awareness)
    if (connect) connection.connect()
    return opened
  },
  add: ({ library, awareness = true }) => add(library, awareness),
  connect: () => connection.connect(),
  disconnect: () => connection.disconnect(),
  // one message as it is, for what the client itself would never send
  send: ({ message: [name, ...elements] }) => connection.send(name, ...elements),
  connection: () => ({
    connected: connection.greeted,
    limits: connection.limits,
    openings: events.filter(event => event.name === 'opening').length
  }),
  // true when nothing was closed or reopened for so long
  stay: async ({ milliseconds }) => {
    const before = openingsAndCloses()
    return !(await settle(() => openingsAndCloses() > before, milliseconds))
  },
  leave: () => {
    const socket = connection.socket
    connection.disconnect()
    if (socket === null) process.exit(0)
    socket.once('close', () => process.exit(0)) // so that the goodbye is on its way
    setTimeout(() => process.exit(0), 2000)
  }
}

const openingsAndCloses = () => events.filter(({ name }) => ['opening', 'close', 'channel closed'].includes(name)).length

await run(commands)
