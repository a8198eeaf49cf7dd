// SPDX-License-Identifier: GPL-2.0

// Tells each client who it is. Nothing here is about load balancers.
//
// usage: node server.js PORT
const http = require('node:http');

http.createServer((request, response) => {
  response.end(`${request.socket.remoteAddress} ${request.socket.remotePort}`);
}).listen(Number(process.argv[2]));
