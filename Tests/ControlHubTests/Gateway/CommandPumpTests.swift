import Logging
import SwiftProtobuf
import Testing

@testable import ControlHub
@testable import WireFormat

@Suite("Which commands of a node may be sent")
struct CommandPumpTests {
    private func command(_ id: String, _ bot: String?, message: Bool = false) -> QueuedCommand {
        var wire = WireCommand()
        wire.commandID = id
        wire.body = message ? .deliverMessage(WireDeliverMessage()) : .stopBot(WireStopBot())
        return QueuedCommand(
            id: CommandID(rawValue: id),
            botID: bot.map { BotID(rawValue: $0) },
            wasDelivered: false,
            command: wire
        )
    }

    private func startable(_ commands: [QueuedCommand], busy: [String] = []) -> [String] {
        CommandPump.startable(commands, busy: Set(busy.map { CommandID(rawValue: $0) })).map(\.id.rawValue)
    }

    @Test("commands for different bots go side by side")
    func sideBySide() {
        #expect(startable([command("1", "a"), command("2", "b"), command("3", nil)]) == ["1", "2", "3"])
    }

    @Test("changes of one bot go one after the other, in order")
    func changesInOrder() {
        let commands = [command("1", "a"), command("2", "a"), command("3", "b")]
        #expect(startable(commands) == ["1", "3"])
        #expect(startable(commands, busy: ["1"]) == ["3"])
        #expect(startable(Array(commands.dropFirst())) == ["2", "3"])
    }

    @Test("a message waits for the change before it, and for the message before it")
    func messagesWait() {
        let commands = [command("1", "a"), command("2", "a", message: true), command("3", "a", message: true)]
        #expect(startable(commands) == ["1"])
        #expect(startable(commands, busy: ["1"]) == [])
        #expect(startable(Array(commands.dropFirst())) == ["2"])
        #expect(startable(Array(commands.dropFirst()), busy: ["2"]) == [])
    }

    @Test("what controls bots goes at once, however many messages wait for theirs")
    func controlHasPlaces() {
        let messages = (0..<200).map { command("m\($0)", "bot\($0)", message: true) }
        let all = messages + (0..<40).map { command("c\($0)", "bot\($0 + 300)") }
        let chosen = CommandPump.chosen(all, busy: [:]).map(\.id.rawValue)
        #expect(chosen.prefix { $0.hasPrefix("c") }.count == CommandPump.controlLimit)
        #expect(chosen.count == CommandPump.controlLimit + CommandPump.messageLimit)
        let busy = Dictionary(uniqueKeysWithValues: messages.prefix(CommandPump.messageLimit).map { ($0.id, true) })
        #expect(CommandPump.chosen(messages + [command("stop", "bot150")], busy: busy).map(\.id.rawValue) == ["stop"])
    }

    @Test("a stop does not wait for a message that waits for its bot")
    func stopOvertakes() {
        let commands = [command("1", "a", message: true), command("2", "a")]
        #expect(startable(commands, busy: ["1"]) == ["2"])
    }

    /// A session that was accepted, for whose connection nobody writes.
    private func session() throws -> HubSession {
        let session = HubSession(clock: SessionClock(unixMilliseconds: { 1_767_225_600_000 }), changed: {})
        session.start()
        let hello = WireSessionMessage.with { ($0.hello.protocolMin, $0.hello.protocolMax) = (1, 1) }
        session.receive(MuxFrame.data(stream: 0, payload: try hello.serializedBytes(), more: false).encoded)
        try session.accept(.with { ($0.sessionEpoch, $0.offlineAfterMs) = (1, 45_000) })
        while session.nextInstruction() != nil {}
        return session
    }

    private func pump(_ hub: TestHub, _ node: NodeID, _ session: HubSession) -> CommandPump {
        CommandPump(
            node: node,
            epoch: 1,
            session: session,
            commands: hub.parts.commands,
            logger: Logger(label: "test")
        )
    }

    @Test("ends with its session, whatever is still to be carried", .timeLimit(.minutes(1)))
    func endsWithTheSession() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        _ = try await hub.parts.commands.start(bot, by: .hub)
        let session = try session()
        let pump = pump(hub, node, session)
        #expect(pump.wake())
        session.connectionEnded(nil, reason: "cut")
        try await pump.run()
        #expect(!pump.wake(), "there is nothing to come over a session that is over")
        #expect(try await hub.parts.commands.outstanding(for: node).count == 1)
    }

    @Test("leaves a session of which a newer one has taken over", .timeLimit(.minutes(1)))
    func leavesAReplacedSession() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let command = try await hub.parts.commands.start(bot, by: .hub)
        for _ in 0..<2 {
            _ = try await hub.parts.nodes.openSession(node, hello: WireHello(), remoteAddress: "::1", at: hub.now)
        }
        let session = try session()
        let pump = pump(hub, node, session)
        #expect(pump.wake())
        async let over: Void = pump.run()
        while session.openStreamCount == 0 { await Task.yield() }
        while session.nextInstruction() != nil {}
        // The agent answers on the hub's first stream.
        let result = WireCommandResult.with { ($0.commandID, $0.outcome) = (command.rawValue, .done) }
        session.receive(MuxFrame.data(stream: 2, payload: try result.serializedBytes(), more: false).encoded)
        while session.ending == nil {
            _ = session.nextInstruction()
            await Task.yield()
        }
        try await over
        #expect(session.ending?.closeCode == .replaced)
    }
}
