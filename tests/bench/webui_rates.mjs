// Requests a second that wrk gets out of creel and, in turns, out of nginx, which serves the same bytes as files of the same
// disk. Both with keep-alive, no log of requests; nginx with sendfile and a worker a core.
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { freePort, startProgram, stop, until } from '../lib.mjs';

const ADDRESSES = 500; // that wrk asks for in turn
const CONNECTIONS = 16;
const SECONDS = 3;

const run = promisify(execFile);

// {base, child}: to be stopped, so that it ends its workers.
export async function startNginx(dir, root) {
  const port = await freePort();
  const config = path.join(dir, 'nginx.conf');
  fs.writeFileSync(config, `
daemon off;
user ${os.userInfo().username};
worker_processes auto;
pid ${dir}/nginx.pid;
error_log ${dir}/nginx-error.log;
events { worker_connections 512; }
http {
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    default_type image/jpeg;
    types { text/html html; text/css css; }
    client_body_temp_path ${dir}/body; proxy_temp_path ${dir}/proxy; fastcgi_temp_path ${dir}/fastcgi;
    uwsgi_temp_path ${dir}/uwsgi; scgi_temp_path ${dir}/scgi;
    server { listen 127.0.0.1:${port}; root ${root}; }
}
`);
  const program = ['/usr/sbin/nginx', '/usr/bin/nginx'].find((file) => fs.existsSync(file));
  if (!program) throw new Error('nginx is missing: sh config/setup.sh tests');
  const child = startProgram(program, ['-c', config, '-e', `${dir}/nginx-error.log`], path.join(dir, 'nginx.log'));
  const base = `http://127.0.0.1:${port}`;
  await until('nginx', () => fetch(`${base}/`).then(() => true, () => false));
  return { base, child };
}

// What creel serves at `paths`, as files of the same names without the query.
export async function copy(base, paths, root) {
  for (const at of paths) {
    const reply = await fetch(base + at);
    if (!reply.ok) throw new Error(`${at}: ${reply.status}`);
    const file = path.join(root, at.replace(/\?.*/, ''));
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, Buffer.from(await reply.arrayBuffer()));
  }
}

export async function newest(base, count) {
  const frames = [];
  for (let next = ''; frames.length < count && next !== null;) {
    const page = await (await fetch(`${base}/api/v1/frames?limit=500${next && `&after=${next}`}`)).json();
    frames.push(...page.frames);
    next = page.next;
  }
  return frames.slice(0, count);
}

async function ask(base, script) {
  const { stdout } = await run('wrk', ['-t1', `-c${CONNECTIONS}`, `-d${SECONDS}s`, '-s', script, base]);
  const bad = /Non-2xx.*|Socket errors.*/.exec(stdout);
  if (bad) throw new Error(`wrk: ${bad[0]}`);
  return Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)[1]);
}

const median = (values) => values.slice().sort((a, b) => a - b)[values.length >> 1];

async function compare(servers, paths, rounds, dir) {
  const script = path.join(dir, 'paths.lua');
  fs.writeFileSync(script, `local asked = {}
function init()
  for i, at in ipairs({${paths.map((at) => JSON.stringify(at)).join(', ')}}) do asked[i] = wrk.format("GET", at) end
end
local at = 0
function request()
  at = at % #asked + 1
  return asked[at]
end
`);
  const rates = { creel: [], nginx: [] };
  for (let round = -1; round < rounds; round++) { // the first one warms up
    for (const name of round % 2 ? ['creel', 'nginx'] : ['nginx', 'creel']) {
      const rate = await ask(servers[name], script);
      if (round >= 0) rates[name].push(rate);
    }
  }
  const ratios = rates.creel.map((rate, i) => rate / rates.nginx[i]);
  return { creel: median(rates.creel), nginx: median(rates.nginx), ratio: median(ratios), rounds: rates };
}

export async function ratesPart({ base, dir, rounds }) {
  const root = path.join(dir, 'rates');
  const frames = await newest(base, ADDRESSES);
  const kinds = {
    thumbnail: frames.map((frame) => `/thumb/${frame.sha256}`),
    blob: frames.map((frame) => `/blob/${frame.sha256}?tier=${frame.tier}`),
  };
  await copy(base, [...kinds.thumbnail, ...kinds.blob], root);
  const nginx = await startNginx(dir, root);
  try {
    return await compareAll({ creel: base, nginx: nginx.base }, kinds, { root, dir, rounds });
  } finally {
    await stop(nginx.child);
  }
}

async function compareAll(servers, kinds, { root, dir, rounds }) {
  const result = {};
  console.log(`\n${`requests/s, ${CONNECTIONS} connections`.padEnd(34)}${'KiB'.padStart(9)}${'creel'.padStart(10)}${'nginx'.padStart(10)}${'ratio'.padStart(8)}`);
  for (const [name, paths] of Object.entries(kinds)) {
    const sizes = paths.map((at) => fs.statSync(path.join(root, at.replace(/\?.*/, ''))).size);
    const kib = sizes.reduce((sum, size) => sum + size, 0) / sizes.length / 1024;
    const rate = await compare(servers, paths, rounds, dir);
    result[name] = { kib, ...rate };
    console.log(`${name.padEnd(34)}${kib.toFixed(1).padStart(9)}${rate.creel.toFixed(0).padStart(10)}${rate.nginx.toFixed(0).padStart(10)}${rate.ratio.toFixed(2).padStart(8)}`);
  }
  console.log('to reach: 0.5 for a thumbnail');
  return result;
}
