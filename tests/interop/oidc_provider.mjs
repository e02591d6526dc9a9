// An OpenID provider on loopback in Google's place: oidc-provider, with Google's users, claims and endpoints as far as they matter here.
//
// Environment: ISSUER, PORT, REDIRECT_URIS (comma separated), KEYS (the ids of its keys, comma separated, the signing one first) and
// KEY_FILE, where keys are kept from one run to the next. A line on standard output says that it listens.
// Nobody sees a page: who signs in is named by `login_hint`, and "deny" stands for somebody who does not want to.
// POST /_test/id_token {user, claims, header, key, drop} makes tokens, hostile ones too.
import { createHmac, createPublicKey } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import * as jose from 'jose'
import Provider, { interactionPolicy } from 'oidc-provider'

const { ISSUER, PORT, REDIRECT_URIS, KEYS, KEY_FILE } = process.env
const WEB_CLIENT = 'web-client.apps.googleusercontent.com'

const USERS = {
  alice: { email: 'alice@gmail.com', email_verified: true, name: 'Alice Example' },
  bob: { email: 'bob@corp.example.com', email_verified: true, hd: 'corp.example.com', name: 'Bob Example' },
  victim: { email: 'victim@example.org', email_verified: false, name: 'Victim' },
  carol: { email: 'carol@example.net', email_verified: true, name: 'Carol' }
}
const SUBJECTS = Object.fromEntries(Object.keys(USERS).map((id, index) => [id, `10769150350006150715113082${index}`]))
const accountOf = (id) => ({ sub: SUBJECTS[id], ...USERS[id] })

// -- keys ------------------------------------------------------------------------------------------------------

const keys = existsSync(KEY_FILE) ? JSON.parse(readFileSync(KEY_FILE, 'utf8')) : {}
for (const kid of [...KEYS.split(','), 'rogue']) {
  if (!(kid in keys)) {
    const { privateKey } = await jose.generateKeyPair('RS256', { extractable: true })
    keys[kid] = { ...await jose.exportJWK(privateKey), kid, alg: 'RS256', use: 'sig' }
  }
}
writeFileSync(KEY_FILE, JSON.stringify(keys), { mode: 0o600 })

// -- the provider ----------------------------------------------------------------------------------------------

const policy = interactionPolicy.base()
// Google has this prompt, and oidc-provider only on request
policy.add(new interactionPolicy.Prompt({ name: 'select_account', requestable: true }), 0)

const provider = new Provider(ISSUER, {
  clients: [{
    client_id: WEB_CLIENT,
    client_secret: 'GOCSPX-test-secret',
    redirect_uris: REDIRECT_URIS.split(','),
    token_endpoint_auth_method: 'client_secret_post',
    id_token_signed_response_alg: 'RS256'
  }],
  jwks: { keys: KEYS.split(',').map((kid) => keys[kid]) },
  conformIdTokenClaims: false,
  claims: { openid: ['sub', 'hd', 'azp'], email: ['email', 'email_verified'], profile: ['name'] },
  findAccount: (ctx, sub) => {
    const id = Object.keys(SUBJECTS).find((each) => SUBJECTS[each] === sub)
    return { accountId: sub, claims: () => ({ azp: ctx.oidc.client?.clientId, ...accountOf(id) }) }
  },
  features: { devInteractions: { enabled: false } },
  interactions: { policy, url: (_, interaction) => `/interaction/${interaction.uid}` },
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId })
    grant.addOIDCScope('openid email profile')
    await grant.save()
    return grant
  },
  cookies: { keys: ['a key of a test'] },
  ttl: { AccessToken: 3600, AuthorizationCode: 60, IdToken: 3600, Grant: 3600, Interaction: 600, Session: 3600 },
  pkce: { required: () => true }
})

const interact = async (request, response) => {
  const { params } = await provider.interactionDetails(request, response)
  const result = params.login_hint in USERS
    ? { select_account: {}, login: { accountId: SUBJECTS[params.login_hint] } }
    : { error: 'access_denied', error_description: 'the user does not want to' }
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false })
}

// -- tokens of the tests' own ----------------------------------------------------------------------------------

const base64url = (value) => Buffer.from(value).toString('base64url')

const mint = async ({ user = 'alice', claims = {}, header = {}, key = KEYS.split(',')[0], drop = [] }) => {
  const now = Math.floor(Date.now() / 1000)
  const payload = { iss: ISSUER, azp: WEB_CLIENT, aud: WEB_CLIENT, ...accountOf(user), iat: now, exp: now + 3600, ...claims }
  for (const name of drop) delete payload[name]
  const signed = { alg: 'RS256', typ: 'JWT', kid: KEYS.split(',')[0], ...header }
  const input = `${base64url(JSON.stringify(signed))}.${base64url(JSON.stringify(payload))}`
  if (key === 'none') return `${input}.`
  if (key === 'hs-public') {
    const pem = createPublicKey({ key: keys[KEYS.split(',')[0]], format: 'jwk' }).export({ type: 'spki', format: 'pem' })
    return `${input}.${createHmac('sha256', pem).update(input).digest('base64url')}`
  }
  const { n, e, ...rest } = keys[key]
  const signer = await jose.importJWK({ n, e, ...rest }, 'RS256')
  // by hand, since the header may say what no library would sign
  const signature = await crypto.subtle.sign('RSASSA-PKCS1-v1_5', signer, Buffer.from(input))
  return `${input}.${base64url(signature)}`
}

const bodyOf = async (request) => {
  const pieces = []
  for await (const piece of request) pieces.push(piece)
  return JSON.parse(Buffer.concat(pieces))
}

const handle = provider.callback()
const server = createServer(async (request, response) => {
  try {
    if (request.url.startsWith('/interaction/')) return await interact(request, response)
    if (request.url === '/_test/id_token') return response.end(await mint(await bodyOf(request)))
    return handle(request, response)
  } catch (error) {
    response.writeHead(500).end(String(error))
  }
})
server.listen(Number(PORT), '127.0.0.1', () => console.log('listening'))
process.stdin.on('end', () => process.exit()).resume()
