// node-hl7-client sends message files one after the other: node sender.mjs PORT FILE…; prints MSA-1 and MSA-2 of each answer.
import { readFileSync } from "node:fs";
import { Client, Message } from "node-hl7-client";

const [port, ...files] = process.argv.slice(2);
const answers = [];
let answered = () => {};
const client = new Client({ host: "127.0.0.1" });
const connection = client.createConnection({ port: Number(port) }, (answer) => {
  const message = answer.getMessage();
  answers.push(`${message.get("MSA.1").toString()} ${message.get("MSA.2").toString()}`);
  answered();
});
for (const file of files) {
  const text = readFileSync(file, "latin1").trim().replaceAll("\r\n", "\r").replaceAll("\n", "\r");
  const done = new Promise((resolve) => (answered = resolve));
  await connection.sendMessage(new Message({ text }));
  await done;
}
console.log(answers.join("\n"));
await connection.close();
process.exit(0);
