import Glibc
import NIOCore
import NIOPosix
import Scenario

/// Runs the work on the channel's own event loop, so that no message hops between threads.
actor OnLoop {
    private let loop: any EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.executor.asUnownedSerialExecutor() }

    init(_ loop: any EventLoop) { self.loop = loop }

    func run(_ scenario: Scenario) async throws {
        let channel = try await NIOConnection.connect(
            port: scenario.port,
            authorityFile: scenario.authorityFile,
            on: loop
        )
        try await channel.executeThenClose { inbound, outbound in
            var connection = NIOConnection(inbound, outbound)
            try await scenario.run(&connection)
        }
    }
}

guard let scenario = Scenario(CommandLine.arguments) else {
    print("usage: NIOAgentIO idle|echo|write|read PORT CA COUNT")
    exit(64)
}
let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
try await OnLoop(group.next()).run(scenario)
