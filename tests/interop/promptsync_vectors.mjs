/**
 * Reads the vectors of promptsync.v1 with the code of the Node client.
 *
 *   node promptsync_vectors.mjs promptsync-v1.json
 *
 * Prints `{"read": count, "wrong": [...]}`: the names of the vectors that came out otherwise, and why.
 */
import { readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { decodeClient, decodeServer, encode, MalformedMessage } from './promptsync_wire.mjs'

const DECODE = { client: decodeClient, server: decodeServer }
const { vectors, refused } = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const wrong = []

const frameOf = ({ hex, zeros = 0 }) => new Uint8Array(Buffer.concat([Buffer.from(hex, 'hex'), Buffer.alloc(zeros)]))

/** A message as the vectors write it: bytes as `{bytes: hex}`. */
const plain = value => {
  if (value instanceof Uint8Array) return { bytes: Buffer.from(value).toString('hex') }
  if (Array.isArray(value)) return value.map(plain)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]))
}

for (const vector of vectors) {
  try {
    const message = DECODE[vector.direction](frameOf(vector))
    const written = Buffer.from(encode(message)).toString('hex')
    if (!isDeepStrictEqual(plain(message), vector.fields)) wrong.push({ name: vector.name, why: plain(message) })
    else if (vector.written !== false && written !== vector.hex) wrong.push({ name: vector.name, why: written })
  } catch (error) {
    wrong.push({ name: vector.name, why: String(error) })
  }
}

for (const vector of refused) {
  try {
    wrong.push({ name: vector.name, why: plain(DECODE[vector.direction](frameOf(vector))) })
  } catch (error) {
    if (!(error instanceof MalformedMessage) || error.close !== vector.close) wrong.push({ name: vector.name, why: String(error) })
  }
}

console.log(JSON.stringify({ read: vectors.length + refused.length, wrong }))
