// SPDX-License-Identifier: GPL-2.0

import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;

/** Tells each client who it is. Nothing here is about load balancers. Usage: java Server PORT */
public class Server {
    public static void main(String[] arguments) throws Exception {
        int port = Integer.parseInt(arguments[0]);
        HttpServer server = HttpServer.create(new InetSocketAddress(port), 0);
        server.createContext("/", exchange -> {
            InetSocketAddress peer = exchange.getRemoteAddress();
            byte[] answer = (peer.getAddress().getHostAddress() + " " + peer.getPort()).getBytes();
            exchange.sendResponseHeaders(200, answer.length);
            exchange.getResponseBody().write(answer);
            exchange.close();
        });
        server.start();
    }
}
