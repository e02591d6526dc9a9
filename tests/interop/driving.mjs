/**
 * A process driven by JSON lines, and what it can wait for.
 *
 * Each line on stdin is `{"id": 1, "do": "<command>", ...arguments}`. Each line on stdout answers one of them:
 * `{"id": 1, "value": ...}` or `{"id": 1, "error": "..."}`. Commands run in the order they come.
 */
import { createInterface } from 'node:readline'

/** What happened to the connection, in order: `{name, ...details}`. */
export const events = []
/** Checks that are under way; each is called after anything happened. */
const watchers = new Set()

export const happened = (name, details = {}) => {
  if (name !== null) events.push({ name, ...details })
  for (const watcher of [...watchers]) watcher()
}

/** Whether `check` came to hold within so many milliseconds. */
export const settle = (check, milliseconds) => new Promise(resolve => {
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

/** Conditions of `wait` on what happened. */
export const eventConditions = {
  event: wanted => events.some(event => Object.entries(wanted).every(([key, value]) => event[key] === value)),
  events: ({ name, count }) => events.filter(event => event.name === name).length >= count
}

/** Commands of every device. */
export const eventCommands = {
  events: () => events,
  // answers after the next thing that happens, or after 100 ms
  turn: async () => {
    let calls = 0
    return settle(() => calls++ > 0, 100)
  },
  // true when nothing was opened for so long
  stay_closed: async ({ milliseconds }) => {
    const openings = () => events.filter(event => event.name === 'opening').length
    const before = openings()
    return !(await settle(() => openings() > before, milliseconds))
  }
}

const answer = message => process.stdout.write(JSON.stringify(message) + '\n')

/** Run commands until stdin closes, then end the process. */
export const run = async commands => {
  for await (const line of createInterface({ input: process.stdin })) {
    const { id, do: name, ...args } = JSON.parse(line)
    try {
      answer({ id, value: (await commands[name](args)) ?? null })
    } catch (error) {
      answer({ id, error: String(error?.stack ?? error) })
    }
  }
  process.exit(0)
}
