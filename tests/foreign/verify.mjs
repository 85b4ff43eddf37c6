// A receiver's three checks of a delivery, with nothing but Node: `node verify.mjs secret < deliveries.jsonl`.
// A line in is {"headers": {...}, "raw": "..."}; a line out names the signatures that hold.
import { createHmac } from 'node:crypto'
import { createInterface } from 'node:readline'

const secret = process.argv[2]
const mac = (text) => createHmac('sha256', secret).update(text, 'utf8').digest('hex')

// Node has one kind of number: 1.0 is 1 for it, which is what the V2 signature covers
const sorted = (value) => {
  if (Array.isArray(value)) return value.map(sorted)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.keys(value).sort().map((name) => [name, sorted(value[name])]))
}

for await (const line of createInterface({ input: process.stdin })) {
  const { headers, raw } = JSON.parse(line)
  const body = JSON.parse(raw)
  const simple = [body.timestamp, body.session_id, body.status, body.webhook_type].join(':')
  const texts = { 'x-signature': raw, 'x-signature-v2': JSON.stringify(sorted(body)), 'x-signature-simple': simple }
  console.log(Object.keys(texts).filter((name) => headers[name] === mac(texts[name])).join(' '))
}
