import Glibc
import LinkReport
import SwiftProtobuf
import WebSocketKitLite
import WireFormat

/// The agent's end of the link: answers every command at once.
///
///     LinkAgent PORT CA
@main
struct LinkAgent {
    static func main() async throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 3 else {
            Console.note("usage: LinkAgent PORT CA")
            exit(64)
        }
        var configuration = ClientConfiguration()
        configuration.headers = ["Authorization": "Bearer bench"]
        configuration.subprotocols = ["edge.v1"]
        var dialing = DialConfiguration()
        dialing.tls.systemRoots = false
        dialing.tls.caFile = arguments[2]
        // As the agent has it.
        dialing.notSentLowWaterBytes = 4 * 1024
        let loop = try EpollLoop.start()
        let dialer = Dialer(loop: loop, configuration: dialing)
        let connection = try await WebSocketClient.connect(
            to: Endpoint("wss://localhost:\(arguments[1])/edge/v1/connect"),
            configuration: configuration,
            dialer: dialer
        )
        Console.note("TCP_NODELAY at the agent: \(NoDelay.description)")
        let session = AgentSession(
            transport: WebSocketTransport(connection: connection),
            hello: WireHello(),
            clock: SessionClock(unixMilliseconds: { 1_700_000_000_000 }),
            heartbeat: { WireHeartbeat() }
        )
        await withTaskGroup(of: Void.self) { group in
            group.addTask(executorPreference: loop.taskExecutor) { _ = await session.run() }
            group.addTask {
                // As the agent does it: each command has a task.
                await withDiscardingTaskGroup { commands in
                    for await event in session.events {
                        guard case .command(let command, let stream) = event else { continue }
                        commands.addTask { await answer(command, on: stream) }
                    }
                }
            }
        }
    }

    private static func answer(_ command: WireCommand, on stream: SessionStream) async {
        let result = WireCommandResult.with {
            $0.commandID = command.commandID
            $0.outcome = .done
        }
        // Fails only when the hub is done and has closed.
        try? await stream.send(message: result)
        stream.finish()
    }
}
