/** The messages of promptsync.v1 as the page of the wire lists them: arrays in, checked arrays out. */
import { decode as unpack, encode as pack } from '@msgpack/msgpack'

const MALFORMED = 4400
const TOO_LARGE = 4413

/** What is no message, and the code that a socket is closed with for it. */
export class MalformedMessage extends Error {
  constructor (reason, close = MALFORMED) {
    super(reason)
    this.close = close
  }
}

/** No frame is larger. */
export const FRAME_BYTES = 1024 * 1024 + 1024
const CHANNEL_MOST = 65535
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
const BYTES_MOST = 1024 * 1024
const NAME_MOST = 200
const TEXT_MOST = 8192

const uint = value => Number.isSafeInteger(value) && value >= 0
const channel = value => uint(value) && value <= CHANNEL_MOST
const code = value => uint(value) && value <= CHANNEL_MOST
const text = value => typeof value === 'string' && Buffer.byteLength(value) <= TEXT_MOST
const name = value => text(value) && [...value].length <= NAME_MOST
const flag = value => typeof value === 'boolean'
const bytes = value => {
  if (value instanceof Uint8Array && value.length > BYTES_MOST) throw new MalformedMessage('bytes past 1 MiB', TOO_LARGE)
  return value instanceof Uint8Array
}
const uuid = value => text(value) && UUID.test(value)
const or = (...checks) => value => checks.some(check => check(value))
const nil = value => value === null

const LIMITS = { update: uint, part: uint, channels: uint, presence: uint }

const FROM_CLIENT = {
  hello: [{ 'token?': text, 'device?': uuid, client: { name, version: name } }],
  open: [channel, { library: uuid, vector: bytes, 'epoch?': uint, 'cursor?': uint }],
  push: [channel, uint, bytes],
  part: [channel, uint, bytes],
  presence: [channel, bytes],
  status: [channel, { 'cursor?': uint }],
  close: [channel],
  ping: [uint]
}

const FROM_SERVER = {
  welcome: [{ session: uuid, user: uuid, limits: LIMITS, time: uint }],
  opened: [channel, { library: uuid, role: name, epoch: uint, head: uint, vector: bytes }],
  synced: [channel, uint, bytes],
  closed: [channel, code, text],
  ack: [channel, uint, uint, flag],
  error: [or(nil, channel), or(nil, uint), text, text],
  update: [channel, uint, bytes],
  part: [channel, uint, bytes],
  presence: [channel, bytes],
  status: [channel, { head: uint, epoch: uint, vector: bytes, unsaved: uint, storing: flag, ask: flag }],
  pong: [uint]
}

/** An element as its check takes it. Of a map known names are checked, those ending in `?` may be missing or nil, unknown ones are left out. */
const read = (check, value) => {
  if (typeof check === 'object') return readMap(check, value)
  if (!check(value)) throw new MalformedMessage(`${typeof value} where something else belongs`)
  return check === uuid ? value.toLowerCase() : value
}

const readMap = (names, value) => {
  if (value === null || typeof value !== 'object' || Array.isArray(value) || bytes(value)) throw new MalformedMessage('not a map')
  const known = {}
  for (const [name, check] of Object.entries(names)) {
    const bare = name.replace('?', '')
    if (bare !== name && (value[bare] ?? null) === null) continue
    if (Object.hasOwn(value, bare)) known[bare] = read(check, value[bare])
    else throw new MalformedMessage(`${bare} is missing`)
  }
  return known
}

const decode = (frame, messages) => {
  if (frame.byteLength > FRAME_BYTES) throw new MalformedMessage('the frame is too large', TOO_LARGE)
  let message
  try {
    message = unpack(frame)
  } catch (error) {
    throw new MalformedMessage(`not msgpack: ${error.message}`)
  }
  if (!Array.isArray(message) || !text(message[0]) || !Object.hasOwn(messages, message[0])) throw new MalformedMessage('an unknown message')
  const [name, ...elements] = message
  const checks = messages[name]
  if (elements.length !== checks.length) throw new MalformedMessage(`${name} has ${elements.length} elements`)
  return [name, ...elements.map((element, index) => read(checks[index], element))]
}

/** A message of the server as `[name, ...elements]`. Throws MalformedMessage for anything else. */
export const decodeServer = frame => decode(frame, FROM_SERVER)

/** A message of a client, likewise. */
export const decodeClient = frame => decode(frame, FROM_CLIENT)

export const encode = message => pack(message, { ignoreUndefined: true })
