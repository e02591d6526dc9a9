/** One library of a promptsync.v1 connection: what is pushed and acknowledged, what has arrived, and the cursor between. */
import { applyAwarenessUpdate, encodeAwarenessUpdate, removeAwarenessStates } from 'y-protocols/awareness'
import * as Y from 'yjs'
import { forGood, Retry } from './promptsync_retry.mjs'

/** So many pushes may wait for their acks; edits made meanwhile go as one when they are there. */
const UNANSWERED_PUSHES = 64
/** Pushes refused with these may be sent again; with any other code that is useless. */
const FOR_A_WHILE = new Set(['try_later', 'channel_closed'])
/** The code of a channel that we closed ourselves. */
const LEFT = 1000

/** Updates that come in parts, by channel and number. */
class Parts {
  constructor () {
    this.begun = new Map()
  }

  add (number, bytes) {
    this.begun.set(number, [...(this.begun.get(number) ?? []), bytes])
  }

  join (number, last) {
    const parts = [...(this.begun.get(number) ?? []), last]
    this.begun.delete(number)
    return parts.length === 1 ? last : new Uint8Array(Buffer.concat(parts))
  }
}

/** One library on a connection. `told(name, details)` hears of everything that happens. */
export class Channel {
  constructor (connection, { number, library, doc, awareness, told }) {
    Object.assign(this, { connection, number, library, doc, awareness, told })
    this.state = 'closed' // closed, opening, open or ended
    this.synced = false
    this.role = null
    this.epoch = null
    this.cursor = null // the seq up to which everything is here
    this.waiting = [] // updates that were not sent, or have to be sent again
    this.unanswered = new Map() // ref: update
    this.acknowledged = [] // the updates that were acknowledged
    this.refused = []
    this.parts = new Parts()
    this.partsSent = 0
    this.partsReceived = 0
    this.held = false // edits wait until the server asks for them
    this.nextRef = 0
    this.newest = 0 // the highest seq of an update since the opening
    this.early = new Set() // seqs past the cursor that came before their predecessors
    this.retry = new Retry(() => this.open(), connection)
    doc.on('update', (update, origin) => {
      if (origin === this) return
      this.waiting.push(update)
      this.flush()
    })
    awareness.on('update', ({ added, updated, removed }, origin) => {
      if (origin !== this && [...added, ...updated, ...removed].includes(doc.clientID)) this.sendPresence()
    })
  }

  // -- opening and closing ---------------------------------------------------------------------------------------

  open () {
    if (this.state !== 'closed' || !this.connection.greeted) return
    this.state = 'opening'
    const kept = this.cursor === null ? {} : { epoch: this.epoch, cursor: this.cursor }
    this.send('open', { library: this.library, vector: Y.encodeStateVector(this.doc), ...kept })
  }

  close () {
    if (this.state === 'opening' || this.state === 'open') this.send('close')
  }

  /** Open what we closed. */
  reopen () {
    if (this.state === 'ended') this.state = 'closed'
    this.open()
  }

  opened ({ role, epoch, vector }) {
    this.state = 'open'
    this.role = role
    this.retry.worked()
    const restored = this.epoch !== null && epoch !== this.epoch
    if (restored) this.cursor = null
    this.epoch = epoch
    if (restored || this.waiting.length > 0 || this.lacksOurs(vector)) this.pushAll(vector)
    if (this.awareness.getLocalState() !== null) this.sendPresence()
    this.told('opened', { role, epoch })
  }

  /** Forget what belonged to the socket; what is not acknowledged waits for the next one. */
  lost (code) {
    this.waiting = [...[...this.unanswered.values()].map(push => push.update), ...this.waiting]
    this.unanswered.clear()
    this.parts = new Parts()
    this.early.clear()
    this.newest = 0
    this.synced = false
    this.state = forGood(code) || code === LEFT ? 'ended' : 'closed'
    const others = [...this.awareness.getStates().keys()].filter(client => client !== this.doc.clientID)
    removeAwarenessStates(this.awareness, others, this)
  }

  closed (code, reason) {
    this.lost(code)
    this.told('channel closed', { code, reason })
    if (this.state === 'closed') this.retry.soon()
  }

  // -- pushing ---------------------------------------------------------------------------------------------------

  lacksOurs (vector) {
    const theirs = Y.decodeStateVector(vector)
    return [...Y.decodeStateVector(Y.encodeStateVector(this.doc))].some(([client, clock]) => (theirs.get(client) ?? 0) < clock)
  }

  /** Push all that `vector` lacks, and all deletions: what waits is in it. */
  pushAll (vector) {
    this.waiting = [Y.encodeStateAsUpdate(this.doc, vector)]
    this.flush()
  }

  flush () {
    if (this.held || this.state !== 'open' || this.waiting.length === 0 || this.unanswered.size >= UNANSWERED_PUSHES) return
    const update = this.waiting.length === 1 ? this.waiting[0] : Y.mergeUpdates(this.waiting)
    this.waiting = []
    const ref = this.nextRef++
    this.unanswered.set(ref, update)
    const most = this.connection.limits.part
    let from = 0
    for (; update.length - from > most; from += most) {
      this.send('part', ref, update.subarray(from, from + most))
      this.partsSent += 1
    }
    this.send('push', ref, update.subarray(from))
  }

  ack (ref, seq, isNew) {
    this.acknowledged.push(this.unanswered.get(ref))
    this.unanswered.delete(ref)
    if (isNew) this.arrived(seq)
    this.told('ack', { ref, seq, new: isNew })
    this.flush()
  }

  refusedPush (ref, code) {
    const update = this.unanswered.get(ref)
    this.unanswered.delete(ref)
    if (!FOR_A_WHILE.has(code)) this.refused.push(code)
    else if (update !== undefined) this.waiting.unshift(update)
    if (code === 'try_later') setTimeout(() => this.flush(), 1000 * (0.5 + this.connection.random()))
  }

  // -- receiving -------------------------------------------------------------------------------------------------

  /** The seq of an update or of an ack that says it is new: the cursor goes on over what is there without a gap. */
  arrived (seq) {
    this.early.add(seq)
    if (this.synced) this.advance()
  }

  advance () {
    while (this.early.delete(this.cursor + 1)) this.cursor += 1
    for (const seq of this.early) if (seq <= this.cursor) this.early.delete(seq)
  }

  receive (name, elements) {
    if (this.state !== 'opening' && this.state !== 'open') return // what was on its way when the channel was closed
    switch (name) {
      case 'opened': return this.opened(...elements)
      case 'synced': return this.receiveSynced(...elements)
      case 'closed': return this.closed(...elements)
      case 'ack': return this.ack(...elements)
      case 'update': return this.receiveUpdate(...elements)
      case 'part': return this.receivePart(...elements)
      case 'presence': return applyAwarenessUpdate(this.awareness, elements[0], this)
      case 'status': return this.receiveStatus(...elements)
      case 'error': return this.receiveError(...elements)
    }
  }

  receivePart (number, bytes) {
    this.partsReceived += 1
    this.parts.add(number, bytes)
  }

  receiveSynced (seq, last) {
    Y.applyUpdate(this.doc, this.parts.join(seq, last), this)
    this.cursor = Math.max(seq, this.newest)
    this.synced = true
    this.advance()
    this.told('synced', { seq })
  }

  receiveUpdate (seq, last) {
    Y.applyUpdate(this.doc, this.parts.join(seq, last), this)
    this.newest = Math.max(seq, this.newest)
    this.arrived(seq)
    this.told('update', { seq })
  }

  receiveStatus (status) {
    this.told('status', { ...status, vector: Buffer.from(status.vector).toString('hex') })
    if (!status.ask) return
    this.held = false
    this.pushAll(status.vector)
    this.askStatus()
  }

  receiveError (ref, code, reason) {
    this.told('refused', { ref, code, reason })
    if (ref !== null) this.refusedPush(ref, code)
    if (code === 'too_many_channels') {
      this.lost(1013)
      this.retry.soon()
    }
    if (code === 'channel_closed' && this.state === 'open') this.closed(1012, code)
  }

  // -- the rest --------------------------------------------------------------------------------------------------

  askStatus () {
    this.send('status', this.cursor === null ? {} : { cursor: this.cursor })
  }

  sendPresence () {
    if (this.state === 'open') this.send('presence', encodeAwarenessUpdate(this.awareness, [this.doc.clientID]))
  }

  send (name, ...elements) {
    this.connection.send(name, this.number, ...elements)
  }
}
