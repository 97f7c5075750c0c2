import SwiftProtobuf
import WireFormat

@testable import ControlHub

/// What bots and operators do meanwhile: packets, and commands of both kinds.
final class Workload {
    private unowned let simulation: Simulation
    private var commandCount = 0
    private var isOver = false
    /// Commands the hub has answered for.
    private(set) var acceptedCount = 0

    private var world: World { simulation.world }

    init(_ simulation: Simulation) {
        self.simulation = simulation
    }

    func start() {
        for node in simulation.nodes {
            for bot in node.bots { emitLater(node, bot) }
        }
        commandLater()
    }

    func stop() { isOver = true }

    private func emitLater(_ node: NodeMachine, _ bot: SimulatedBot) {
        world.after(world.pick(1...2 * simulation.plan.packetGap)) { [weak self] in
            guard let self, !self.isOver else { return }
            let burst = self.world.chance(10) ? self.world.pick(2...30) : 1
            for _ in 0..<burst { bot.emit() }
            self.world.note("\(bot.id) writes up to packet \(bot.emittedCount)", 60, bot.emittedCount)
            node.agent?.logChanged(bot)
            self.emitLater(node, bot)
        }
    }

    private func commandLater() {
        world.after(world.pick(1...2 * simulation.plan.commandGap)) { [weak self] in
            guard let self, !self.isOver else { return }
            self.command()
            self.commandLater()
        }
    }

    private func command() {
        let node = simulation.nodes[world.pick(0...simulation.nodes.count - 1)]
        let bot = node.bots[world.pick(0...node.bots.count - 1)]
        let isMessage = world.chance(75)
        let lifetime = world.chance(30) ? world.pick(2...30) : world.pick(60...600)
        let size = world.chance(4) ? world.pick(10_000...40_000) : world.pick(1...120)
        commandCount += 1
        let id = "command-\(commandCount)"
        let body: WireCommand.OneOf_Body =
            if isMessage {
                .deliverMessage(
                    .with {
                        ($0.botID, $0.messageID) = (bot.id, id)
                        $0.text = String(repeating: "x", count: size)
                    }
                )
            } else {
                .startBot(.with { ($0.bot.botID, $0.bot.placementEpoch) = (bot.id, bot.epoch) })
            }
        let command = NewCommand(
            id: CommandID(rawValue: id),
            node: NodeID(rawValue: node.id),
            bot: BotID(rawValue: bot.id),
            messageID: isMessage ? MessageID(rawValue: id) : nil,
            body: body,
            isRepeatable: !isMessage,
            timeToLive: .seconds(lifetime),
            actor: .hub
        )
        world.note("an operator asks for \(id) on \(bot.id)", 61, commandCount)
        simulation.hub?.enqueue(command, message: isMessage ? "x" : nil) { [weak self] in self?.acceptedCount += 1 }
    }

    /// A bot has taken a message. Mostly it answers, in a while and by the message's name; its agent may be dead by then.
    func taken(_ message: String, by bot: SimulatedBot) {
        guard world.chance(80) else { return }
        let (launch, namesIt) = (bot.launchID, world.chance(70))
        world.after(world.pick(Microseconds.milliseconds(50)...Microseconds.seconds(10))) { [weak self] in
            guard let self, bot.isRunning, bot.launchID == launch else { return }
            bot.emit("assistant_message", about: namesIt ? message : "")
            self.world.note("\(bot.label) answers \(message)", 62, bot.emittedCount)
            self.simulation.agent(of: bot)?.logChanged(bot)
        }
    }
}
