/**
 * A device that edits a library with yjs as any client would: told by JSON lines what to write where (see driving.mjs).
 *
 * A place is `[root, key, ...keys]`. Steps: `set place value` (JSON), `remove place`, `map place entries` (a new Y.Map), `text place words` (a
 * new Y.Text), `type place before words` (insert before these words, at this index, or at the end for null; in the units of JavaScript),
 * `erase place words`, `keystrokes place words` (each an update of its own).
 */
import * as Y from 'yjs'
import { run } from './driving.mjs'

let doc, before

const at = ([root, ...keys]) => keys.reduce((there, key) => there.get(key), doc.getMap(root))
const set = (place, value) => at(place.slice(0, -1)).set(place.at(-1), value)
const index = (text, before) => {
  if (before === null) return text.length
  return typeof before === 'number' ? before : text.toString().indexOf(before)
}

const steps = {
  set,
  remove: place => at(place.slice(0, -1)).delete(place.at(-1)),
  map: (place, entries) => set(place, new Y.Map(Object.entries(entries))),
  text: (place, words) => set(place, new Y.Text(words)),
  type: (place, before, words) => at(place).insert(index(at(place), before), words),
  erase: (place, words) => at(place).delete(index(at(place), words), words.length)
}

await run({
  open: ({ client, update }) => {
    doc = new Y.Doc()
    doc.clientID = client
    Y.applyUpdate(doc, Buffer.from(update, 'hex'))
    before = Y.encodeStateVector(doc)
  },
  // what it has written since it was opened
  write: ({ todo }) => {
    for (const [, place, words] of todo.filter(([name]) => name === 'keystrokes')) {
      for (const character of words) steps.type(place, null, character)
    }
    doc.transact(() => { for (const [name, ...rest] of todo) steps[name]?.(...rest) })
    return Buffer.from(Y.encodeStateAsUpdate(doc, before)).toString('hex')
  },
  apply: ({ update }) => Y.applyUpdate(doc, Buffer.from(update, 'hex')),
  content: ({ roots }) => Object.fromEntries(roots.map(root => [root, doc.getMap(root).toJSON()]))
})
