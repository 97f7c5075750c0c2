import CodecSpeed
import Glibc
import WebSocketKitLite

/// Measures the kit's WebSocket client and the hub's WebSocket server; each command is described in `usage`.
@main
enum Main {
    private static let usage = """
        usage: websocket-bench server --port P [--cert F --key F] [--deflate [--context-takeover]]
               websocket-bench client --url ws[s]://HOST:P/PATH --mode rtt|send|recv --size S --count N [--ca F] [--deflate]
               websocket-bench autobahn --url ws://HOST:P --agent NAME [--first N --last M]
               websocket-bench codec
        """

    static func main() async {
        do {
            var arguments = Arguments(CommandLine.arguments.dropFirst())
            switch arguments.command {
            case "server":
                let server = try EchoServer(&arguments)
                try arguments.finish()
                try await server.run()
            case "client":
                let client = try LoadClient(&arguments)
                try arguments.finish()
                Output.line(try await client.run())
            case "autobahn":
                let client = try AutobahnClient(&arguments)
                try arguments.finish()
                try await client.run()
            case "codec":
                try arguments.finish()
                for line in CodecSpeed.measure() { Output.line(line) }
            default:
                throw UsageError("the first argument names what to do")
            }
        } catch let error as UsageError {
            fail("\(error.message)\n\(usage)", status: EX_USAGE)
        } catch {
            fail("\(error)", status: EXIT_FAILURE)
        }
    }

    private static func fail(_ message: String, status: Int32) -> Never {
        Output.error("websocket-bench: \(message)")
        exit(status)
    }
}

/// Whole lines, out at once even when nobody is at a terminal.
enum Output {
    static func line(_ text: String) { write(text, STDOUT_FILENO) }
    static func error(_ text: String) { write(text, STDERR_FILENO) }

    private static func write(_ text: String, _ descriptor: Int32) {
        var line = text + "\n"
        line.withUTF8 { _ = Glibc.write(descriptor, $0.baseAddress, $0.count) }
    }
}
