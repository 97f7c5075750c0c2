import Foundation
import SwiftProtobuf
import Testing
import WireFormat

@testable import ControlHub

/// A message's result may come long after the bot that took it is gone.
@Suite("Results of deliveries")
struct DeliveryResultTests {
    private func send(_ hub: TestHub, _ bot: BotID) async throws -> CommandOperations.SentMessage {
        let sent = try await hub.parts.commands.send("hello", to: bot, in: ConversationID(rawValue: "c"), by: .hub)
        _ = try await hub.parts.commands.markDelivered(sent.command)
        return sent
    }

    private func status(_ bot: BotID, _ launch: String, _ phase: WireBotPhase = .ready) -> WireBotStatus {
        .with {
            $0.botID = bot.rawValue
            $0.launchID = launch
            $0.phase = phase
            $0.placementEpoch = 1
        }
    }

    @Test("The launch that took it is over: the turn is interrupted, not left open for ever")
    func launchIsOver() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let sent = try await send(hub, bot)
        try await hub.parts.bots.apply([status(bot, "second")], from: node)
        try await hub.parts.commands.finish(
            .with {
                $0.commandID = sent.command.rawValue
                $0.outcome = .done
                $0.fromReceipt = true
                $0.deliveredLaunchID = "first"
            }
        )
        let message = try #require(try await hub.services.messages.message(sent.message))
        #expect(message.state == .interrupted && message.reason != nil)
    }

    @Test("What a receipt says of the bot's state was true once, and is not taken for the present")
    func staleStatus() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        try await hub.parts.bots.apply([status(bot, "second")], from: node)
        let open = try await send(hub, bot)
        try await hub.parts.commands.finish(
            .with {
                $0.commandID = open.command.rawValue
                $0.outcome = .done
                $0.deliveredLaunchID = "second"
            }
        )
        let old = try await send(hub, bot)
        try await hub.parts.commands.finish(
            .with {
                $0.commandID = old.command.rawValue
                $0.outcome = .failed
                $0.fromReceipt = true
                $0.botStatus = status(bot, "first", .starting)
            }
        )
        #expect(try await hub.parts.bots.store.bot(bot).status?.launchID == "second")
        #expect(try await hub.services.messages.message(open.message)?.state == .delivered)
    }
}
