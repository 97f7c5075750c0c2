import WebSocketKitLite

/// Plays the client for the Autobahn test suite's fuzzing server: asks how many cases there are, runs each by echoing
/// every message, and has the reports written.
struct AutobahnClient {
    private let server: Endpoint
    private let agent: String
    private let first: Int
    private let last: Int?

    init(_ arguments: inout Arguments) throws {
        server = try Endpoint(arguments.require("--url"))
        agent = try arguments.require("--agent")
        guard !agent.isEmpty, agent.utf8.allSatisfy(Self.needsNoEscape) else {
            throw UsageError("--agent is made of letters, digits, '-', '.' and '_'")
        }
        first = try arguments.takeNumber("--first", in: 1...100_000) ?? 1
        last = try arguments.takeNumber("--last", in: 1...100_000)
    }

    private static func needsNoEscape(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
        case UInt8(ascii: "0")...UInt8(ascii: "9"): true
        default: byte == UInt8(ascii: "-") || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_")
        }
    }

    func run() async throws {
        let dialer = Dialer(loop: try EpollLoop.start())
        let total = try await caseCount(dialer)
        let cases = first...max(first, min(last ?? total, total))
        for number in cases {
            do {
                try await echo(try await connect(dialer, "/runCase?case=\(number)&agent=\(agent)"))
            } catch {
                // Many cases end their connection on purpose; the suite's report says which was right to end so.
                Output.error("case \(number): \(error)")
            }
        }
        try await echo(try await connect(dialer, "/updateReports?agent=\(agent)"))
        Output.line("ran cases \(cases.lowerBound) to \(cases.upperBound) of \(total)")
    }

    private func caseCount(_ dialer: Dialer) async throws -> Int {
        let connection = try await connect(dialer, "/getCaseCount")
        guard case .text(let text)? = try await connection.receive(), let count = Int(text), count > 0 else {
            throw UsageError("\(server) did not say how many cases it has; is it a fuzzing server?")
        }
        await connection.close()
        return count
    }

    private func connect(_ dialer: Dialer, _ target: String) async throws -> WebSocketConnection {
        var endpoint = server
        endpoint.target = target
        var configuration = ClientConfiguration()
        configuration.deflate = .init()
        return try await WebSocketClient.connect(to: endpoint, configuration: configuration, dialer: dialer)
    }

    private func echo(_ connection: WebSocketConnection) async throws {
        while let message = try await connection.receive() {
            try await connection.send(message)
        }
        // Lets the answer to the server's Close out before the connection goes.
        await connection.close()
    }
}
