// Publishes one request, waits for its final result, and prints it. See the README beside the examples.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { Consumer, FetchIsolationLevels, MessagesStreamModes, Producer, stringDeserializers, stringSerializers } from '@platformatic/kafka'

const [FAILED, USAGE, NO_RESULT] = [1, 2, 3]
const setting = (name, otherwise) => process.env[`VP_KAFKA__${name}`] ?? otherwise

function connection () {
  const protocol = setting('SECURITY_PROTOCOL', 'PLAINTEXT')
  const options = { clientId: 'ask', bootstrapBrokers: setting('BOOTSTRAP', '127.0.0.1:9092').split(',') }
  if (protocol.endsWith('SSL')) {
    const read = (name) => setting(name) && readFileSync(setting(name))
    options.tls = { ca: read('SSL_CA_FILE'), cert: read('SSL_CERTIFICATE_FILE'), key: read('SSL_KEY_FILE') }
  }
  if (protocol.startsWith('SASL')) {
    const password = setting('SASL_PASSWORD') ?? readFileSync(setting('SASL_PASSWORD_FILE'), 'utf8').trim()
    options.sasl = { mechanism: setting('SASL_MECHANISM', 'SCRAM-SHA-512'), username: setting('SASL_USERNAME'), password }
  }
  return options
}

// A copy answers the record that it names and no other; a conflict is ours only if it names our record as its source
function answers (message, result, ours) {
  if (result.request_id !== ours.requestId || result.kind !== 'final') return false
  const copyFor = message.headers.get('vp-copy-for')
  if (copyFor !== undefined) return copyFor === `${ours.topic}[${ours.partition}]@${ours.offset}`
  const { topic, partition, offset } = result.source
  return result.status !== 'conflict' || (topic === ours.topic && partition === ours.partition && BigInt(offset) === ours.offset)
}

async function ask (operation, input, requestId) {
  const prefix = setting('TOPIC_PREFIX', 'verification')
  const [requests, results] = [`${prefix}.requests`, `${prefix}.results`]
  const producer = new Producer({ ...connection(), serializers: stringSerializers, idempotent: true, autocreateTopics: false })
  const consumer = new Consumer({ ...connection(), groupId: `ask-${requestId}`, deserializers: stringDeserializers, autocommit: false })
  try {
    // from the end on as it is before the request is published: its result cannot be missed
    const ends = (await consumer.listOffsets({ topics: [results] })).get(results)
    const offsets = ends.map((offset, partition) => ({ topic: results, partition, offset }))
    const stream = await consumer.consume({
      topics: [results], mode: MessagesStreamModes.MANUAL, offsets, isolationLevel: FetchIsolationLevels.READ_COMMITTED
    })
    const value = JSON.stringify({ request_id: requestId, operation, input })
    const sent = await producer.send({ messages: [{ topic: requests, key: String(input.vendor_data ?? requestId), value }], acks: -1 })
    const ours = { requestId, ...sent.offsets[0] }
    for await (const message of stream) {
      const result = JSON.parse(message.value) // numbers beyond 2^53 lose digits here
      if (answers(message, result, ours)) return result
    }
  } finally {
    await Promise.allSettled([producer.close(true), consumer.close(true)])
  }
}

let operation, input, requestId
try {
  const { positionals } = parseArgs({ allowPositionals: true })
  ;[operation, input, requestId = randomUUID()] = positionals
  input = JSON.parse(input)
} catch {
  console.error('usage: node ask.mjs OPERATION INPUT-AS-JSON [REQUEST_ID]')
  process.exit(USAGE)
}
const timeoutS = Number(process.env.TIMEOUT_S ?? 120)
setTimeout(() => {
  console.error(`no final result of ${requestId} within ${timeoutS} s; it goes on: ask again under this id`)
  process.exit(NO_RESULT)
}, timeoutS * 1000)
try {
  const result = await ask(operation, input, requestId)
  console.log(requestId, result.status)
  if (result.error) console.error(`${result.error.code}: ${result.error.message}`)
  process.exit(result.status === 'succeeded' ? 0 : FAILED)
} catch (error) {
  console.error(`${requestId}: ${error.message}; ask again under this id`)
  process.exit(NO_RESULT)
}
