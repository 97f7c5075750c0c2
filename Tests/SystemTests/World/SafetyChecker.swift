@testable import ControlHub

/// What must never happen, looked at with every step.
///
/// The checker knows the whole truth: what the bots really wrote and did, what both disks hold. It is told each
/// relevant act as it happens and keeps the first violation.
final class SafetyChecker {
    enum Kind: String, Sendable {
        case packetLost, packetStoredTwice, packetChanged, packetOutOfOrder
        case twoLiveSessions, commandRunTwice, commandLost, commandContradicted
        case messageBoundary, limitExceeded, dialStorm, protocolError, notLive, database
    }

    struct Violation: Sendable, CustomStringConvertible {
        let kind: Kind
        let at: Microseconds
        let text: String
        var description: String { "\(kind.rawValue) at \(at.text) s: \(text)" }
    }

    private(set) var violation: Violation?
    private unowned let world: World
    /// Per copy of a bot the numbers stored at the hub; they are that copy's own count of what it wrote.
    private var storedNumbers: [String: Set<Int>] = [:]
    private var highestStored: [String: Int] = [:]
    /// What is nowhere any more, because its disk was put back from a copy.
    private var lost: [String: Set<Int>] = [:]
    /// What may be stored once more for that reason.
    private var repeatable: [String: Set<Int>] = [:]
    private var forgiven: Set<String> = []
    private var timesRun: [String: Int] = [:]
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

    /// The hub has committed a packet. Of one copy of a bot they come in the order it wrote them, each once and unchanged.
    func stored(_ bytes: [UInt8]) {
        guard let (label, number) = SimulatedBot.Packet.origin(of: bytes), number > 0 else {
            require(false, .packetChanged, "the hub has a packet that nobody wrote")
            return
        }
        require(
            bytes == SimulatedBot.Packet.bytes(label, number),
            .packetChanged,
            "packet \(number) of \(label) is not as it was written"
        )
        let isNew = storedNumbers[label, default: []].insert(number).inserted
        // What an old copy of a journal had not sent when it was made is told once more.
        if !isNew, repeatable[label]?.remove(number) != nil { return }
        require(isNew, .packetStoredTwice, "packet \(number) of \(label)")
        let highest = highestStored[label] ?? 0
        let isNext = number > highest && (highest + 1..<number).allSatisfy { lost[label]?.contains($0) == true }
        require(isNext, .packetOutOfOrder, "packet \(number) of \(label) after \(highest)")
        highestStored[label] = max(number, highest)
    }

    /// The agent forgets a packet because the hub has acknowledged it.
    func forgotten(_ bytes: [UInt8]) {
        let (label, number) = SimulatedBot.Packet.origin(of: bytes) ?? ("nobody", 0)
        require(
            storedNumbers[label]?.contains(number) == true,
            .packetLost,
            "packet \(number) of \(label) was forgotten by the agent and is not in the hub's database"
        )
    }

    /// What of a bot's packets the hub should have and has not; nil where it has all.
    func missing(of bot: SimulatedBot) -> String? {
        let stored = storedNumbers[bot.label] ?? []
        let gone = lost[bot.label] ?? []
        guard let number = (1...max(1, bot.emittedCount)).first(where: { !stored.contains($0) && !gone.contains($0) }),
            number <= bot.emittedCount
        else { return nil }
        return "packet \(number) of the \(bot.emittedCount) that \(bot.label) wrote is not stored"
    }

    /// A state directory was put back from a copy: what was written since is nowhere but at the hub.
    ///
    /// - Parameters:
    ///   - numbers: what was in the logs that are gone.
    ///   - repeatable: what the copy tells once more, because it does not know that the hub was told.
    func putBack(_ label: String, losing numbers: [Int], repeating repeatable: [Int]) {
        lost[label, default: []].formUnion(numbers)
        self.repeatable[label, default: []].formUnion(repeatable)
    }

    // MARK: Commands

    /// What was put back does not know of these any more, and may do them again.
    func forgive(_ commands: [String]) { forgiven.formUnion(commands) }

    /// A bot has taken a message.
    func ran(_ command: String) {
        timesRun[command, default: 0] += 1
        let times = timesRun[command] ?? 0
        require(
            times <= 1 || forgiven.contains(command),
            .commandRunTwice,
            "\(command) was run \(times) times"
        )
    }

    /// A start was carried out.
    func started(_ command: String) { timesRun[command, default: 0] += 1 }

    /// The hub has stored how a command ended.
    func ended(_ command: Command) {
        let timesRun = timesRun[command.id.rawValue] ?? 0
        guard !forgiven.contains(command.id.rawValue) else { return }
        switch command.state {
        case .done:
            require(timesRun > 0, .commandLost, "\(command.id) is done and was never run")
        case .expired:
            require(timesRun == 0, .commandContradicted, "\(command.id) is called expired and was run")
        case .failed where command.errorCode != "outcome_unknown":
            require(
                timesRun == 0,
                .commandContradicted,
                "\(command.id) is called \(command.errorCode ?? "failed") and was run"
            )
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
