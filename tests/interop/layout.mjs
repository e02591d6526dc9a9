// Reads a library as an update (hex) from standard input, does to it what was asked for, and answers with what it holds and what it has changed.
// layout.mjs example FILE: runs the JavaScript example of FILE (docs/library-schema.md). layout.mjs edit: types, tags and deletes.
import fs from 'node:fs'
import * as Y from 'yjs'

const [what, file] = process.argv.slice(2)
const doc = new Y.Doc()
Y.applyUpdate(doc, Buffer.from(fs.readFileSync(0, 'utf8'), 'hex'))
const before = Y.encodeStateVector(doc)

if (what === 'example') {
  const example = fs.readFileSync(file, 'utf8').match(/```js\n([\s\S]*?)```/)[1].replace(/^import .*$/m, '')
  new Function('Y', 'doc', example)(Y, doc)
} else {
  const prompt = doc.getMap('prompts').get('p')
  doc.transact(() => {
    prompt.get('tags').set('from-js', true)
    prompt.set('title', '周报 from JS 🙂')
    const text = doc.getMap('texts').get(prompt.get('current'))
    text.insert(text.toString().indexOf('🙂'), '插入 ')
    text.delete(0, 1)
  })
}
console.log(JSON.stringify({
  prompts: doc.getMap('prompts').toJSON(),
  versions: doc.getMap('versions').toJSON(),
  texts: doc.getMap('texts').toJSON(),
  update: Buffer.from(Y.encodeStateAsUpdate(doc, before)).toString('hex')
}))
