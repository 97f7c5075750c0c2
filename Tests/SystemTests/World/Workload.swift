@testable import ControlHub

/// What bots and operators do meanwhile: packets, and commands of both kinds.
final class Workload {
    private unowned let simulation: Simulation
    private var commandCount = 0
    private var isOver = false
    /// What each bot was asked.
    private var asked: [String: [String]] = [:]
    /// Commands the hub has answered for.
    private(set) var acceptedCount = 0

    private var world: World { simulation.world }

    init(_ simulation: Simulation) {
        self.simulation = simulation
    }

    func start() {
        for node in simulation.nodes {
            for bot in node.bots { begin(node, bot) }
        }
        commandLater()
    }

    func stop() { isOver = true }

    /// A bot writes packets from now on, whenever it runs.
    func begin(_ node: NodeMachine, _ bot: SimulatedBot) {
        world.after(world.pick(1...2 * simulation.plan.packetGap)) { [weak self] in
            guard let self, !self.isOver else { return }
            if bot.isRunning, node.bots.contains(where: { $0 === bot }) {
                let burst = self.world.chance(10) ? self.world.pick(2...30) : 1
                for _ in 0..<burst { self.write(bot) }
                self.world.note("\(bot.label) writes up to packet \(bot.emittedCount)", 60, bot.emittedCount)
                node.agent?.logChanged(bot)
            }
            self.begin(node, bot)
        }
    }

    /// Mostly a note. One that is not the bot any more, as far as the hub is concerned, says what only the bot may say.
    private func write(_ bot: SimulatedBot) {
        let isFormer = simulation.checker.isExcused(bot.label)
        guard world.chance(isFormer ? 60 : 2) else { return bot.emit() }
        let messages = asked[bot.id] ?? []
        switch world.pick(0...2) {
        case 0: bot.emit("fatal")
        case 1 where isFormer && !messages.isEmpty:
            bot.emit("assistant_message", about: messages[world.pick(0...messages.count - 1)])
        default: bot.emit("assistant_message")
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
        let bot = simulation.botIDs[world.pick(0...simulation.botIDs.count - 1)]
        let isMessage = world.chance(75)
        let seconds = world.chance(30) ? world.pick(2...30) : world.pick(60...600)
        let lifetime = Duration.seconds(seconds)
        let size = world.chance(4) ? world.pick(10_000...40_000) : world.pick(1...120)
        commandCount += 1
        let id = "command-\(commandCount)"
        world.note("an operator asks for \(id) on \(bot)", 61, commandCount)
        if isMessage { asked[bot, default: []].append(id) }
        simulation.checker.asked(id, lasting: .seconds(seconds))
        simulation.hub?.ask { [simulation] record, date in
            guard isMessage else {
                // As where a deployment is under way.
                return record.isDeploying(bot)
                    ? nil : record.start(bot, as: id, lasting: lifetime, at: date)
            }
            return record.send(String(repeating: "x", count: size), to: bot, as: id, lasting: lifetime, at: date)
        } accepted: { [weak self] in
            self?.acceptedCount += 1
        }
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
