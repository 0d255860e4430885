// Prints a token that is valid for a day, the last segment of a callback URL: https://hooks.example.com/hooks/veo3/{token}

import { randomBytes } from "node:crypto";
import { SignJWT, importPKCS8 } from "jose";

const { BLOBGATE_MINT_KEY, MINT_KID, MINT_AUD, MINT_JOB } = process.env;

// EdDSA with a private key in PEM, else HS256 with the same value as the gate.
async function signingKey(value) {
  if (value.startsWith("-----BEGIN ")) return ["EdDSA", await importPKCS8(value.replaceAll("\\n", "\n"), "EdDSA")];
  if (value.startsWith("base64:")) return ["HS256", Buffer.from(value.slice("base64:".length), "base64")];
  return ["HS256", Buffer.from(value)];
}

const [alg, key] = await signingKey(BLOBGATE_MINT_KEY);
const claims = {
  exp: Math.floor(Date.now() / 1000) + 24 * 60 * 60,
  aud: MINT_AUD, // environment/hook: production/veo3
  job: MINT_JOB, // your own reference: order-17
  jti: randomBytes(12).toString("base64url"),
};
console.log(await new SignJWT(claims).setProtectedHeader({ alg, typ: "JWT", kid: MINT_KID }).sign(key));
