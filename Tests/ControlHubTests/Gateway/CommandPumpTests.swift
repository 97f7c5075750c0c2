import Testing
import WireFormat

@testable import ControlHub

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
}
