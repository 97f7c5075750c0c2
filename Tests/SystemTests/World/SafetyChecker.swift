@testable import ControlHub

/// What must never happen, looked at with every step.
///
/// The checker knows the whole truth: what the bots really wrote and did, what both disks hold. It is told each
/// relevant act as it happens and keeps the first violation.
final class SafetyChecker {
    enum Kind: String, Sendable {
        case packetLost, packetStoredTwice, packetChanged, packetOutOfOrder
        case twoLiveSessions, commandRunTwice, commandLost, commandContradicted
        case messageBoundary, limitExceeded, dialStorm, protocolError, notLive
    }

    struct Violation: Sendable, CustomStringConvertible {
        let kind: Kind
        let at: Microseconds
        let text: String
        var description: String { "\(kind.rawValue) at \(at.text) s: \(text)" }
    }

    private(set) var violation: Violation?
    private unowned let world: World
    /// Per bot the highest number stored at the hub; numbers are the bot's own count of what it wrote.
    private var storedNumbers: [String: Set<Int>] = [:]
    private var highestStored: [String: Int] = [:]
    /// Per agent process the moments of the latest dials.
    private var dials: [String: [Microseconds]] = [:]

    init(_ world: World) {
        self.world = world
    }

    func require(_ condition: Bool, _ kind: Kind, _ text: @autoclosure () -> String) {
        guard !condition, violation == nil else { return }
        let found = Violation(kind: kind, at: world.now, text: text())
        violation = found
        world.note("VIOLATION \(found)", 99)
    }

    // MARK: Packets

    /// The hub has committed a packet. Of one bot they come in the order it wrote them, each once and unchanged.
    func stored(_ bytes: [UInt8], of bot: SimulatedBot) {
        guard let number = SimulatedBot.number(in: bytes), (1...bot.emittedCount).contains(number) else {
            require(false, .packetChanged, "the hub has a packet that \(bot.id) never wrote")
            return
        }
        require(bytes == bot.packet(number), .packetChanged, "packet \(number) of \(bot.id) is not as it was written")
        let isNew = storedNumbers[bot.id, default: []].insert(number).inserted
        require(isNew, .packetStoredTwice, "packet \(number) of \(bot.id)")
        let highest = highestStored[bot.id] ?? 0
        require(number == highest + 1, .packetOutOfOrder, "packet \(number) of \(bot.id) after \(highest)")
        highestStored[bot.id] = max(number, highest)
    }

    /// The agent forgets a packet because the hub has acknowledged it.
    func forgotten(_ bytes: [UInt8], of bot: String) {
        let number = SimulatedBot.number(in: bytes) ?? 0
        require(
            storedNumbers[bot]?.contains(number) == true,
            .packetLost,
            "packet \(number) of \(bot) was forgotten by the agent and is not in the hub's database"
        )
    }

    func storedCount(_ bot: String) -> Int { highestStored[bot] ?? 0 }

    // MARK: Commands

    /// A bot has taken a message.
    func ran(_ command: String, times: Int) {
        require(times <= 1, .commandRunTwice, "\(command) was run \(times) times")
    }

    /// The hub has stored how a command ended.
    func ended(_ command: StoredCommand, timesRun: Int) {
        switch command.state {
        case .done:
            require(timesRun > 0, .commandLost, "\(command.id) is done and was never run")
        case .expired:
            require(timesRun == 0, .commandContradicted, "\(command.id) is called expired and was run")
        case .failed where command.errorCode != "outcome_unknown":
            require(timesRun == 0, .commandContradicted, "\(command.id) is called \(command.errorCode) and was run")
        default:
            break
        }
    }

    // MARK: Link

    /// A message came out of a connection.
    func delivered(_ message: [UInt8], expected: [UInt8]?, _ label: String) {
        require(
            message == expected,
            .messageBoundary,
            "\(label) got \(message.count) bytes, sent were \(expected.map { "\($0.count)" } ?? "none")"
        )
    }

    /// An agent process dials. A minute has room for one wait near zero after each doubling, and no more. A process that
    /// was killed has forgotten how long it was to wait, so each is counted by itself.
    func dialed(_ process: String) {
        var recent = dials[process, default: []].filter { $0 > world.now - .seconds(60) }
        recent.append(world.now)
        dials[process] = recent
        require(recent.count <= 20, .dialStorm, "\(process) dialed \(recent.count) times within a minute")
    }

    func limit(_ value: Int, _ most: Int, _ what: @autoclosure () -> String) {
        require(value <= most, .limitExceeded, "\(what()): \(value), at most \(most)")
    }
}
