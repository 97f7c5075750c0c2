import SwiftProtobuf
import WireFormat

@testable import ControlHub

/// What must never happen, looked at with every step.
///
/// The checker knows the whole truth: what the bots really wrote and did, what both disks hold. It is told each
/// relevant act as it happens and keeps the first violation.
final class SafetyChecker {
    enum Kind: String, Sendable {
        case packetLost, packetStoredTwice, packetChanged, packetOutOfOrder
        case twoLiveSessions, commandRunTwice, commandLost, commandContradicted, wrongSpeaker, runningTwice, endedEarly
        case presentStopped, workspaceLost
        case messageBoundary, limitExceeded, dialStorm, protocolError, notLive, database
    }

    struct Violation: Sendable, CustomStringConvertible {
        let kind: Kind
        let at: Microseconds
        let text: String
        var description: String { "\(kind.rawValue) at \(at.text) s: \(text)" }
    }

    /// Where the hub has, or had, a packet.
    private struct Stored {
        let journal: String
        let sequence: Int64
    }

    private(set) var violation: Violation?
    private unowned let world: World
    /// Per copy of a bot the numbers stored at the hub; they are that copy's own count of what it wrote.
    private(set) var storedNumbers: [String: Set<Int>] = [:]
    /// What any hub had, also one whose record was put back since, and where it was.
    private var everStored: [String: [Int: Stored]] = [:]
    /// By journal and bot, what gaps say to be missing.
    private var gaps: [String: [ClosedRange<Int64>]] = [:]
    private var highestStored: [String: Int] = [:]
    /// What is nowhere any more, because its disk was put back from a copy.
    private var lost: [String: Set<Int>] = [:]
    /// What may be stored once more for that reason.
    private var repeatable: [String: [Int: Int]] = [:]
    /// What the hub acknowledged and did not keep.
    private var refusedNumbers: [String: Set<Int>] = [:]
    /// Copies of bots, by label, that may run beside others, and of which the hub is owed nothing.
    private var excused: Set<String> = []
    private var disowned: Set<String> = []
    /// Which copies of a bot took a message, and in which launch.
    private var given: [String: [(label: String, launch: String)]] = [:]
    private var handed: [String: Set<String>] = [:]
    private var handedAt: [String: Microseconds] = [:]
    /// Where a record that was put back cannot know better.
    private var tolerated: Set<String> = []
    private var carriedWorkspaces: [String: Int] = [:]
    private var isRestored = false
    private var forgiven: Set<String> = []
    private var timesRun: [String: Int] = [:]
    /// When the hub has last set its time.
    var clockSetAt: Microseconds = .seconds(-60)
    private var asked: [String: (at: Microseconds, lifetime: Microseconds)] = [:]
    /// Per agent process the moments of the latest dials.
    private var dials: [String: [Microseconds]] = [:]

    /// What becomes of the entries of workspaces.
    private(set) lazy var files = WorkspaceChecker { [weak self] in self?.require($0, $1, $2) }

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
    ///
    /// - Parameters:
    ///   - journal: under which it is kept, with the bot.
    ///   - sequence: its number there.
    func stored(_ bytes: [UInt8], in journal: String = "", _ sequence: UInt64 = 0) {
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
        if !isNew, let left = repeatable[label]?[number], left > 0 {
            repeatable[label]?[number] = left - 1
            return
        }
        require(isNew, .packetStoredTwice, "packet \(number) of \(label)")
        let highest = highestStored[label] ?? 0
        let isNext =
            number > highest
            && (highest + 1..<number).allSatisfy {
                lost[label]?.contains($0) == true || everStored[label]?[$0] != nil
            }
        everStored[label, default: [:]][number] = Stored(journal: journal, sequence: Int64(clamping: sequence))
        require(isNext, .packetOutOfOrder, "packet \(number) of \(label) after \(highest)")
        highestStored[label] = max(number, highest)
    }

    /// The agent forgets a packet because the hub has acknowledged it.
    func forgotten(_ bytes: [UInt8]) {
        let (label, number) = SimulatedBot.Packet.origin(of: bytes) ?? ("nobody", 0)
        require(
            everStored[label]?[number] != nil || refusedNumbers[label]?.contains(number) == true,
            .packetLost,
            "packet \(number) of \(label) was forgotten by the agent and is not in the hub's database"
        )
    }

    /// What of a bot's packets the hub should have and has not; nil where it has all, or a gap says what is missing.
    ///
    /// - Parameters:
    ///   - journal: the one that the bot's node has now.
    func missing(of bot: SimulatedBot, in journal: String, at node: String) -> String? {
        guard !disowned.contains(bot.label), bot.emittedCount > 0 else { return nil }
        let stored = storedNumbers[bot.label] ?? []
        let gone = lost[bot.label] ?? []
        for number in 1...bot.emittedCount where !stored.contains(number) && !gone.contains(number) {
            guard let place = everStored[bot.label]?[number] else {
                return "packet \(number) of the \(bot.emittedCount) that \(bot.label) wrote is not stored"
            }
            // Only the next packet of the same journal shows that a hub which was put back has lost it.
            guard bot.isRunning, [journal, "\(journal)@\(node)"].contains(place.journal) else { continue }
            if gaps[place.journal + "/" + bot.id]?.contains(where: { $0.contains(place.sequence) }) == true { continue }
            return "packet \(number) of \(bot.label) was acknowledged, is gone from the hub, and no gap says so"
        }
        return nil
    }

    /// The hub has stored that something is missing.
    func gap(in journal: String, of bot: String, _ numbers: ClosedRange<Int64>) {
        gaps[journal + "/" + bot, default: []].append(numbers)
    }

    /// The hub's record was put back: it holds what it held then.
    ///
    /// - Parameter known: the journals, with the bot, that it knows. Of another one no number tells that some are missing.
    func restored(_ stored: [String: Set<Int>], knowing known: Set<String>) {
        isRestored = true
        for (label, numbers) in everStored {
            let bot = String(label.prefix { $0 != "." })
            let unknown = numbers.filter { !known.contains("\($0.value.journal)/\(bot)") }.keys
            lost[label, default: []].formUnion(unknown)
        }
        storedNumbers = stored
        highestStored = stored.compactMapValues { $0.max() }
    }

    /// What was in logs of a state directory that was put back from a copy is nowhere but at the hub.
    func lose(_ label: String, _ numbers: [Int]) { lost[label, default: []].formUnion(numbers) }

    /// A copy of a state directory tells this once more, because it does not know that the hub was told.
    func mayRepeat(_ packets: [(label: String, number: Int)]) {
        for (label, number) in packets { repeatable[label, default: [:]][number, default: 0] += 1 }
    }

    /// A packet was acknowledged and not kept, because the bot is not the node's.
    func refused(_ bytes: [UInt8], isExpected: Bool) {
        let (label, number) = SimulatedBot.Packet.origin(of: bytes) ?? ("nobody", 0)
        refusedNumbers[label, default: []].insert(number)
        // A record that was put back does not know all the places where a bot was.
        if isRestored { lost[label, default: []].insert(number) }
        require(isExpected || isRestored, .packetLost, "packet \(number) of \(label) was refused")
    }

    // MARK: Placements

    /// A copy of a bot that may run beside another: nobody could ask its node, or its disk was copied.
    func excuse(_ label: String) { excused.insert(label) }

    func isExcused(_ label: String) -> Bool { excused.contains(label) }

    /// The hub is owed nothing of what this copy writes.
    func disown(_ label: String) { disowned.insert(label) }

    /// From here on it is.
    func own(_ bot: SimulatedBot) {
        guard disowned.remove(bot.label) != nil, bot.emittedCount > 0 else { return }
        lost[bot.label, default: []].formUnion(1...bot.emittedCount)
    }

    /// It is the bot again.
    func trust(_ label: String) { excused.remove(label) }

    /// A node starts a bot for the hub. `others` run elsewhere.
    func begins(_ bot: SimulatedBot, _ others: [SimulatedBot]) {
        let second = others.first { !excused.contains($0.label) && !tolerated.contains($0.label) }
        require(second == nil, .runningTwice, "\(bot.label) was started while \(second?.label ?? "") runs")
    }

    func tolerate(_ label: String) { tolerated.insert(label) }

    /// A node stops the bot where its operator has placed it.
    func stops(_ bot: SimulatedBot, isWanted: Bool) {
        require(
            isWanted || excused.contains(bot.label) || tolerated.contains(bot.label),
            .presentStopped,
            "\(bot.label) was stopped, and is where the bot was placed"
        )
    }

    /// What a workspace holds is at another node as well from now on.
    func carried(_ bot: SimulatedBot) { carriedWorkspaces[bot.label] = bot.workspace }

    /// All that it has is elsewhere as well, and it has not run since.
    func isCopy(_ bot: SimulatedBot) {
        carried(bot)
        files.isCopy(bot.label)
    }

    /// A node removes what it has of a bot.
    func removes(_ bot: SimulatedBot, _ listing: WorkspaceListing?) {
        if let listing { files.removes(bot.label, listing) }
        require(
            bot.workspace <= carriedWorkspaces[bot.label] ?? 0,
            .workspaceLost,
            "the workspace of \(bot.label) was removed, and what it holds is nowhere else"
        )
    }

    /// A message is not what it was, by packets that came from one node. Only those may have done it that name it and come from
    /// where the bot is, or come from whom it was given to.
    func changed(_ change: MessageChange, by packets: [WireMonitorPacket], from node: String, isHost: Bool) {
        let message = change.message.rawValue
        let mayName = isHost || handed[message]?.contains(node) == true
        let given = given[message] ?? []
        let isRight = packets.contains { packet in
            guard packet.botID == change.bot.rawValue else { return false }
            if given.contains(where: { $0.launch == packet.launchID }) { return true }
            let origin = SimulatedBot.Packet.origin(of: Array(packet.json))
            return packet.messageID == message && (mayName || given.contains { $0.label == origin?.label })
        }
        require(
            isRight,
            .wrongSpeaker,
            "\(message) is \(change.state.rawValue) by the word of a copy that was not given it"
        )
    }

    // MARK: Commands

    /// What was put back does not know of these any more, and may do them again.
    func forgive(_ commands: [String]) { forgiven.formUnion(commands) }

    /// The hub has sent a command to a node.
    func handed(_ command: String, to node: String) {
        handed[command, default: []].insert(node)
        handedAt[command] = handedAt[command] ?? world.now
    }

    /// Whether a command was under way before a moment.
    func wasHanded(_ command: String, before moment: Microseconds) -> Bool {
        handedAt[command].map { $0 <= moment } ?? false
    }

    /// A bot has taken a message.
    func ran(_ command: String, by bot: SimulatedBot) {
        given[command, default: []].append((bot.label, bot.launchID))
        timesRun[command, default: 0] += 1
        let times = timesRun[command] ?? 0
        require(
            times <= 1 || forgiven.contains(command),
            .commandRunTwice,
            "\(command) was run \(times) times"
        )
    }

    /// A start or a stop was.
    func carriedOut(_ command: String) { timesRun[command, default: 0] += 1 }

    /// An operator has asked for something that is worth doing for so long.
    func asked(_ command: String, lasting lifetime: Microseconds) { asked[command] = (world.now, lifetime) }

    /// The hub has ended a turn because of the time.
    func endedByTime(_ change: MessageChange) {
        guard change.reason?.contains("wrote nothing about this message") == true else { return }
        // One that was taken while the time was set may have its limit by the time before. An answer that comes is taken all the same.
        guard world.now - clockSetAt > .seconds(60) else { return }
        let since = asked[change.message.rawValue]?.at ?? 0
        require(
            world.now - since >= .seconds(3590),
            .endedEarly,
            "\(change.message) was given up \((world.now - since).text) s after it was sent"
        )
    }

    /// The hub has stored how a command ended.
    func ended(_ command: Command) {
        let timesRun = timesRun[command.id.rawValue] ?? 0
        guard !forgiven.contains(command.id.rawValue) else { return }
        switch command.state {
        case .done:
            require(timesRun > 0, .commandLost, "\(command.id) is done and was never run")
        case .expired:
            if let (at, lifetime) = asked[command.id.rawValue] {
                require(
                    world.now - at >= lifetime - .seconds(1),
                    .endedEarly,
                    "\(command.id) expired \((world.now - at).text) s after it was sent, and was to wait \(lifetime.text) s"
                )
            }
            require(timesRun == 0, .commandContradicted, "\(command.id) is called expired and was run")
        // Of the second start by the same wish, where the bot was placed elsewhere in between.
        case .failed where command.errorCode == "placement_epoch_too_old":
            break
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
