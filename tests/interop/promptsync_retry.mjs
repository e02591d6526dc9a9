/** When to come back after a close, and whether at all. */
const LONGEST_PAUSE_MILLISECONDS = 30_000

/** Coming back is useless. */
export const forGood = code => code >= 4400 && code < 4500

/** Runs `action` after a pause that doubles with every failure, and of which a random share is taken. */
export class Retry {
  constructor (action, { random, firstPause }) {
    Object.assign(this, { action, random, firstPause, failures: 0, timer: null })
  }

  soon () {
    if (this.timer !== null) return
    const most = Math.min(LONGEST_PAUSE_MILLISECONDS, this.firstPause * 2 ** this.failures++)
    this.timer = setTimeout(() => {
      this.timer = null
      this.action()
    }, most * (0.5 + this.random() / 2))
  }

  worked () {
    this.failures = 0
  }

  stop () {
    clearTimeout(this.timer)
    this.timer = null
  }
}
