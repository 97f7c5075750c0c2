@testable import ControlHub

/// What a seed brings: how large, how slow, and which faults.
///
/// Each seed has only some of the kinds of fault, so that rare combinations come up undisturbed by the rest.
struct FaultPlan {
    enum Fault: String, CaseIterable, Sendable {
        case cutAtByte, cut, halfOpen, stall, slowReader, partition, clockJump
        case hubKill, hubRestart, agentKill, killBetweenSteps, reboot, twin, botCrash, tightAdmission, slowDisk
        case rollback, clone, formerHost, hubClock, restore, move, files
    }

    private static let ofCopies: [Fault] = [.rollback, .clone, .formerHost, .hubClock, .restore, .move]

    var faults: [Fault] = []
    var nodeCount = 1
    var botsPerNode = 1
    /// Faults and work go on so long.
    var duration: Microseconds = .seconds(60)
    /// The mean time from one fault to the next.
    var faultGap: Microseconds = .seconds(8)
    /// The mean time between packets of one bot, and between commands.
    var packetGap: Microseconds = .seconds(3)
    var commandGap: Microseconds = .seconds(5)
    /// The upper end of one way's latency.
    var latency: Microseconds = .milliseconds(50)
    /// The longest transaction.
    var diskLatency: Microseconds = .milliseconds(10)
    /// How long the hub's clock has to stay where it has jumped until the hub follows it.
    var clockTrial: Microseconds = .seconds(100)
    var botBusyPercent = 0
    var logReaderPercent = 0
    var admission = AdmissionMachine.Settings()

    /// A calm network and a little work, to be changed by hand.
    init() {}

    /// What the world's generator makes of its seed.
    init(_ world: World) {
        let density = world.pick(15...70)
        // Copies and moves allow for much, so that most seeds have none of them.
        faults = Fault.allCases.filter {
            $0 != .files && world.chance(Self.ofCopies.contains($0) ? density / 3 : density)
        }
        nodeCount = world.pick(1...3)
        botsPerNode = world.pick(1...2)
        duration = .seconds(world.pick(30...80))
        faultGap = .seconds(world.pick(2...12))
        packetGap = .milliseconds(world.pick(500...5000))
        commandGap = .milliseconds(world.pick(1000...8000))
        latency = .milliseconds(world.pick(1...8) * world.pick(1...40))
        diskLatency = .milliseconds(world.pick(1...30))
        botBusyPercent = world.chance(30) ? world.pick(5...60) : 0
        logReaderPercent = world.chance(25) ? 20 : 0
        // The hub is more hasty here than it is: nothing is to rest for ten minutes.
        if world.chance(50) { clockTrial = .seconds(world.pick(5...30)) }
        if faults.contains(.slowDisk) { diskLatency = .milliseconds(world.pick(100...1500)) }
        if faults.contains(.tightAdmission) {
            admission = AdmissionMachine.Settings(ratePerSecond: world.pick(1...3), burst: 1)
        }
        // Not by chance: so the other seeds are what they were before there were workspaces.
        if !faults.contains(.move), world.seed % 8 == 5 { faults.append(.move) }
        guard faults.contains(.move) else { return }
        nodeCount = max(nodeCount, 2)
        if world.chance(80) { faults.append(.files) }
    }
}
