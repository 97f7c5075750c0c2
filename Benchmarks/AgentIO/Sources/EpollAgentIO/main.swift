import Glibc
import Scenario

/// Runs the work on the loop's own thread, so that no message hops between threads.
actor OnLoop {
    private let loop: EpollLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    init(_ loop: EpollLoop) { self.loop = loop }

    func run(_ scenario: Scenario) async throws {
        guard let address = SocketAddress(literal: "127.0.0.1", port: scenario.port) else {
            throw Scenario.Failed(what: "bad address")
        }
        var trust = TLSConfiguration()
        trust.systemRoots = false
        trust.caFile = scenario.authorityFile
        let socket = try await SocketHandle.connect(to: address, loop: loop, deadline: .now + .seconds(5))
        let stream = try TLSStream(socket: socket, context: TLSContext(trust), host: "localhost")
        try await stream.handshake(deadline: .now + .seconds(5))
        var connection = EpollConnection(stream: stream, limit: getenv("LIMITED") == nil ? nil : .seconds(60))
        try await scenario.run(&connection)
        await stream.close()
    }
}

guard let scenario = Scenario(CommandLine.arguments) else {
    print("usage: EpollAgentIO idle|echo|write|read PORT CA COUNT")
    exit(64)
}
try await OnLoop(EpollLoop.start()).run(scenario)
