import Foundation
import Synchronization
import Testing

/// Hub and agents in one process on a simulated network. By themselves and one after the other, because the memory of
/// this process is one of the things that are measured.
@Suite("The system on a bad day", .serialized)
enum SystemTests {}

extension SystemTests {
    @Suite("Simulated networks", .serialized)
    struct SimulationTests {
        /// What `make simulate` asks for.
        private static let environment = ProcessInfo.processInfo.environment
        private static let firstSeed = environment["SIMULATE_FROM"].flatMap(UInt64.init) ?? 1
        private static let seedCount = environment["SIMULATE_SEEDS"].flatMap(UInt64.init) ?? 1000
        private static let tracedSeed = environment["SIMULATE_SEED"].flatMap(UInt64.init)

        @Test("nothing is lost, doubled or stuck, whatever the seed brings")
        func seeds() async throws {
            if let seed = Self.tracedSeed { return Self.trace(seed) }
            let start = ContinuousClock.now
            let progress = Progress(of: Self.seedCount)
            let outcomes = await Self.runAll(Self.firstSeed..<Self.firstSeed + Self.seedCount, onEach: progress.note)
            for outcome in outcomes {
                guard let violation = outcome.violation else { continue }
                Issue.record("seed \(outcome.seed): \(violation)\n  replay: make simulate SEED=\(outcome.seed)")
            }
            Self.report(outcomes, ContinuousClock.now - start)
        }

        @Test("the same seed gives the same course, to the last event", arguments: [1, 2, 3, 77, 4711] as [UInt64])
        func deterministic(seed: UInt64) {
            let first = Self.course(seed)
            let second = Self.course(seed)
            #expect(first.outcome.digest == second.outcome.digest)
            #expect(first.lines == second.lines)
            #expect(first.lines.count > 50)
            #expect(first.outcome.digest != Self.course(seed + 1).outcome.digest)
            // Nobody listening changes nothing.
            #expect(Simulation.run(seed: seed).digest == first.outcome.digest)
        }

        private static func course(_ seed: UInt64) -> (outcome: Simulation.Outcome, lines: [String]) {
            var lines: [String] = []
            let outcome = Simulation.run(seed: seed, Simulation.Options(onTrace: { lines.append($0) }))
            return (outcome, lines)
        }

        /// Runs every seed by itself on one thread, as many at once as there are processors.
        static func runAll(
            _ seeds: Range<UInt64>,
            _ options: @escaping @Sendable () -> Simulation.Options = { Simulation.Options() },
            onEach: @escaping @Sendable (Simulation.Outcome) -> Void = { _ in }
        ) async -> [Simulation.Outcome] {
            let threads = ProcessInfo.processInfo.activeProcessorCount
            return await withTaskGroup(of: [Simulation.Outcome].self) { group in
                for first in 0..<threads {
                    group.addTask {
                        stride(from: seeds.lowerBound + UInt64(first), to: seeds.upperBound, by: threads)
                            .map { seed in
                                let outcome = Simulation.run(seed: seed, options())
                                onEach(outcome)
                                return outcome
                            }
                    }
                }
                return await group.reduce(into: []) { $0 += $1 }.sorted { $0.seed < $1.seed }
            }
        }

        private static func trace(_ seed: UInt64) {
            // As `CheckerTests` has run it.
            let defects = environment["SIMULATE_DEFECT"].flatMap(Defect.init).map { [$0] } ?? []
            let faults = (environment["SIMULATE_FAULTS"] ?? "").split(separator: ",").compactMap {
                FaultPlan.Fault(rawValue: String($0))
            }
            let outcome = Simulation.run(
                seed: seed,
                Simulation.Options(
                    defects: Set(defects),
                    onTrace: { say($0) },
                    adjust: { plan in plan.faults += faults.filter { !plan.faults.contains($0) } }
                )
            )
            say(
                "seed \(seed), digest \(String(outcome.digest, radix: 16)): \(outcome.violation?.description ?? "good")"
            )
            if let violation = outcome.violation { Issue.record("seed \(seed): \(violation)") }
        }

        private static func report(_ outcomes: [Simulation.Outcome], _ took: Duration) {
            let settled = outcomes.map(\.settledAfter).sorted()
            let (hours, connections, packets, commands) = outcomes.reduce((0, 0, 0, 0)) {
                ($0.0 + $1.simulated / 3_600_000, $0.1 + $1.connections, $0.2 + $1.packets, $0.3 + $1.commands)
            }
            let (moves, entries) = outcomes.reduce((0, 0)) { ($0.0 + $1.moves, $0.1 + $1.entries) }
            let failures = outcomes.reduce(into: [:]) { $0.merge($1.failures, uniquingKeysWith: +) }
            let reasons = failures.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
            let digest = outcomes.reduce(UInt64(0)) { ($0 &* 31) ^ $1.digest }
            say(
                """
                simulate: \(outcomes.count) seeds from \(firstSeed), \(outcomes.filter { $0.violation != nil }.count) \
                failed, \(took.components.seconds) s
                simulate: \(Double(hours) / 1000) h simulated, \(outcomes.reduce(0) { $0 + $1.events }) events, \
                \(connections) connections, \(packets) packets, \(commands) commands
                simulate: \(moves) moves of \(entries) entries; failed: \(reasons)
                simulate: settled \((settled.last ?? 0).text) s after the last fault at the latest, \
                \((settled.isEmpty ? 0 : settled[settled.count / 2]).text) s in the middle; digest \
                \(String(digest, radix: 16))
                """
            )
        }
    }
}

/// Writes a line at once: a pipe would hold what `print` says until the end.
func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }

/// Says how far a long run is, and each failure when it happens.
private final class Progress: Sendable {
    private let seedCount: UInt64
    private let start = ContinuousClock.now
    private let state = Mutex((done: 0 as UInt64, failed: 0))

    init(of seedCount: UInt64) {
        self.seedCount = seedCount
    }

    func note(_ outcome: Simulation.Outcome) {
        let (done, failed) = state.withLock { state in
            state.done += 1
            if outcome.violation != nil { state.failed += 1 }
            return state
        }
        if let violation = outcome.violation {
            say("simulate: seed \(outcome.seed): \(violation); replay: make simulate SEED=\(outcome.seed)")
        }
        guard done % max(1, seedCount / 10) == 0 else { return }
        let seconds = (ContinuousClock.now - start).components.seconds
        say("simulate: \(done) of \(seedCount) seeds, \(failed) failed, \(seconds) s")
    }
}
