import Foundation
import Testing

extension SystemTests {
    /// What a link that is cut all day leaves behind, on either side.
    @Suite("A link that flaps for a day", .serialized)
    struct FlappingTests {
        private static let day: Microseconds = .seconds(24 * 3600)

        /// What this process holds, and the simulation in it.
        private struct Sample: CustomStringConvertible {
            let label: String
            let residentKiB: Int
            let openFiles: Int
            let connections: Int
            let waitingEvents: Int

            init(_ label: String, _ simulation: Simulation) throws {
                self.label = label
                let pages = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8).split(separator: " ")
                residentKiB = try #require(pages.dropFirst().first.flatMap { Int($0) }) * Int(getpagesize()) / 1024
                openFiles = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count
                connections = simulation.network.openCount
                waitingEvents = simulation.world.pendingEventCount
            }

            var description: String {
                "flap: \(label): \(residentKiB) KiB resident, \(openFiles) open files, "
                    + "\(connections) connections, \(waitingEvents) waiting events"
            }
        }

        @Test("24 simulated hours leave nothing behind", .timeLimit(.minutes(2)))
        func day() throws {
            let start = ContinuousClock.now
            let simulation = Simulation(
                seed: 24,
                Simulation.Options(adjust: { plan in
                    plan = FaultPlan()
                    plan.faults = [.cut, .cutAtByte, .halfOpen]
                    plan.faultGap = .seconds(60)
                    plan.packetGap = .seconds(30)
                    plan.commandGap = .seconds(60)
                    plan.duration = Self.day
                })
            )
            var samples: [Sample] = []
            simulation.start()
            // The first hour fills caches and pools.
            let hours = [(1, "after the first hour"), (12, "after half a day"), (24, "after a day")]
            var hour = 0
            for (last, label) in hours {
                while hour < last, simulation.checker.violation == nil {
                    hour += 1
                    simulation.advance(to: .seconds(hour * 3600))
                    // What a real hub and bot have on disk is in memory here.
                    simulation.record.prune()
                }
                samples.append(try Sample(label, simulation))
            }
            let outcome = simulation.finish()
            for sample in samples { say("\(sample)") }
            say(
                "flap: \(outcome.connections) connections, \(outcome.packets) packets, \(outcome.commands) commands, "
                    + "\(outcome.events) events in \((ContinuousClock.now - start).components.seconds) s"
            )
            #expect(outcome.violation == nil, "\(outcome.violation?.description ?? "")")
            #expect(outcome.connections > 1000)
            let (first, last) = (try #require(samples.first), try #require(samples.last))
            #expect(last.residentKiB - first.residentKiB < 8 << 10)
            #expect(last.openFiles == first.openFiles)
            #expect(samples.allSatisfy { $0.connections <= 10 && $0.waitingEvents <= 1000 })
        }
    }
}
