/**
 * A client of promptsync.v1 for yjs documents: one `Connection` is a socket that reconnects, a `Channel` a library on it.
 *
 * An update is kept until its ack has come. What was not acknowledged goes again after a reconnect, in merged form.
 */
import { Channel } from './promptsync_channel.mjs'
import { forGood, Retry } from './promptsync_retry.mjs'
import { decodeServer, encode } from './promptsync_wire.mjs'

const NAME = 'promptsync.v1'
/** Nothing was received for so long: ask. */
const PING_MILLISECONDS = 15_000
/** And for so long: the connection is dead. */
const DEAD_MILLISECONDS = 30_000

/** A socket with any number of channels. `tokenBy` is hello, dialect or header. */
export class Connection {
  constructor ({ url, token, tokenBy = 'hello', device, WebSocket, told, random = Math.random, firstPause = 1000 }) {
    Object.assign(this, { url, token, tokenBy, device, WebSocket, told, random, firstPause })
    this.channels = new Map()
    this.socket = null
    this.greeted = false // hello was sent: channels may open
    this.limits = null
    this.heard = 0
    this.retry = new Retry(() => this.connect(), this)
    setInterval(() => this.watch(), PING_MILLISECONDS / 3).unref()
  }

  open (library, { doc, awareness, told }) {
    const channel = new Channel(this, { number: this.channels.size, library, doc, awareness, told })
    this.channels.set(channel.number, channel)
    channel.open()
    return channel
  }

  connect () {
    this.retry.stop()
    if (this.socket !== null) return
    this.told('opening')
    const protocols = this.tokenBy === 'dialect' ? [NAME, `bearer.${this.token}`] : [NAME]
    const options = this.tokenBy === 'header' ? { headers: { authorization: `Bearer ${this.token}` } } : {}
    const socket = new this.WebSocket(this.url, protocols, { ...options, perMessageDeflate: false })
    socket.binaryType = 'arraybuffer'
    this.socket = socket
    socket.onopen = () => this.greet()
    socket.onmessage = ({ data }) => this.receive(data)
    socket.onerror = () => this.told('error')
    socket.onclose = ({ code, reason }) => { if (this.socket === socket) this.lost(code, reason) }
  }

  /** Close the socket and do not come back before `connect`. */
  disconnect () {
    this.retry.stop()
    const socket = this.socket
    if (socket === null) return
    this.lost(1000, 'disconnected')
    this.retry.stop()
    socket.close(1000)
  }

  greet () {
    this.heard = Date.now()
    const token = this.tokenBy === 'hello' ? this.token : undefined
    this.send('hello', { token, device: this.device, client: { name: 'promptsync-interop', version: '1' } })
    this.greeted = true
    for (const channel of this.channels.values()) channel.open()
  }

  lost (code, reason) {
    this.socket = null
    this.greeted = false
    for (const channel of this.channels.values()) if (channel.state !== 'ended') channel.lost(1006)
    this.told('close', { code, reason })
    if (!forGood(code)) this.retry.soon()
  }

  receive (data) {
    this.heard = Date.now()
    const [name, ...elements] = decodeServer(new Uint8Array(data))
    if (name === 'welcome') return this.welcome(...elements)
    if (name === 'pong') return this.told('pong', { number: elements[0] })
    const [number, ...rest] = elements
    if (number === null) return this.told('refused', { ref: rest[0], code: rest[1], reason: rest[2] })
    this.channels.get(number)?.receive(name, rest)
  }

  welcome (welcome) {
    this.limits = welcome.limits
    this.retry.worked()
    this.told('welcome', welcome)
  }

  send (name, ...elements) {
    this.socket.send(encode([name, ...elements]))
  }

  watch () {
    if (!this.greeted) return
    const silence = Date.now() - this.heard
    if (silence > DEAD_MILLISECONDS) this.socket.terminate()
    else if (silence > PING_MILLISECONDS) this.send('ping', 0)
  }
}
