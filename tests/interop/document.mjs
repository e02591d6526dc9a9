/** A document that tests edit, read and compare, whatever connects it. */
import * as Y from 'yjs'

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

/** The state vector as `{client: clock}`, sorted. */
const clocks = doc => Object.fromEntries([...Y.decodeStateVector(Y.encodeStateVector(doc)).entries()].sort((a, b) => a[0] - b[0]))

/**
 * The document `doc` as plain values, read from a fresh `Doc` that was given `encodeStateAsUpdate`: two devices hold the
 * same document exactly when these are equal, tombstones included.
 */
export const contentOf = doc => {
  const update = Y.encodeStateAsUpdate(doc)
  const copy = new Y.Doc()
  Y.applyUpdate(copy, update)
  const values = {
    text: copy.getText('text').toDelta(),
    map: copy.getMap('map').toJSON(),
    array: copy.getArray('array').toJSON(),
    xml: copy.getXmlFragment('xml').toString(),
    vector: clocks(copy),
    deletions: deletions(update),
    pending: doc.store.pendingStructs !== null || doc.store.pendingDs !== null
  }
  copy.destroy()
  return values
}

const append = (xml, paragraph, words) => {
  const element = new Y.XmlElement(paragraph)
  element.insert(0, [new Y.XmlText(words)])
  xml.push([element])
}

/** One document with its shared types, its edits, and the commands and conditions on them. */
export class Document {
  constructor () {
    this.doc = new Y.Doc()
    this.text = this.doc.getText('text')
    this.map = this.doc.getMap('map')
    this.array = this.doc.getArray('array')
    this.xml = this.doc.getXmlFragment('xml')
    this.typing = null
    const { text, map, array, xml } = this
    /** One edit each: `[type, operation, ...arguments]`. */
    this.edits = {
      'text insert': (index, words, attributes) => text.insert(index, words, attributes),
      'text append': words => text.insert(text.length, words),
      'text repeat': (words, times) => text.insert(text.length, words.repeat(times)),
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
      'xml append': (paragraph, words) => append(xml, paragraph, words),
      'xml delete': (index, length) => xml.delete(index, length),
      'xml attribute': (index, name, value) => xml.get(index).setAttribute(name, value)
    }
    this.conditions = {
      vector: wanted => Object.entries(wanted).every(([client, clock]) => Y.getState(this.doc.store, Number(client)) >= clock),
      map_has: key => map.has(key),
      map_lacks: key => !map.has(key),
      text: wanted => text.toString() === wanted
    }
  }

  get clock () {
    return Y.getState(this.doc.store, this.doc.clientID)
  }

  edit (steps) {
    for (const [name, ...args] of steps) this.edits[name](...args)
    return this.clock
  }

  transact (steps) {
    this.doc.transact(() => { this.edit(steps) })
    return this.clock
  }

  /**
   * Write `count` numbered keys, `burst` at a time, one burst a turn of the event loop, until done or told to `rest`.
   * With `erase`, delete every third of them soon after.
   */
  type ({ prefix, count, burst, erase = false }) {
    let written = 0
    this.typing = setInterval(() => {
      for (let n = 0; n < burst && written < count; n++) {
        this.map.set(`${prefix}${written++}`, written)
        if (erase && written % 3 === 0) this.map.delete(`${prefix}${written - 3}`)
      }
      if (written >= count) this.rest()
    }, 1)
  }

  rest () {
    clearInterval(this.typing)
  }

  content () {
    return contentOf(this.doc)
  }
}
