import Testing

extension SystemTests {
    /// A check that cannot fail checks nothing: each mistake built in on purpose is found.
    @Suite("The checks of the simulation can fail", .serialized)
    struct CheckerTests {
        typealias Kind = SafetyChecker.Kind

        @Test(
            "a mistake is caught",
            arguments: [
                // The hole shows when the agent forgets what is missing, or before that when a later packet is stored.
                (.acknowledgesBeforeStoring, [.packetLost, .packetOutOfOrder]),
                (.storesWithoutKey, [.packetStoredTwice]),
                (.keepsReplacedSession, [.twoLiveSessions]),
                (.finishesCommandWhenSent, [.commandLost]),
                (.forgetsCommandUnderWay, [.notLive]),
                (.actsBeforeNoting, [.commandRunTwice]),
                (.forgetsPacketsWhenSent, [.packetLost]),
                (.storesLogCursorLater, [.packetStoredTwice]),
                (.trustsCopiedJournal, [.packetLost, .packetOutOfOrder, .notLive]),
                (.mergesClonedJournals, [.packetLost, .packetOutOfOrder, .packetStoredTwice]),
                (.believesFormerHost, [.wrongSpeaker]),
                (.believesClock, [.endedEarly]),
                (.losesMessages, [.messageBoundary]),
                (.ignoresBackpressure, [.limitExceeded]),
                (.agentIgnoresDeadlines, [.notLive]),
                (.redialsAtOnce, [.dialStorm]),
            ] as [(Defect, [Kind])]
        )
        func caught(defect: Defect, by kinds: [Kind]) async throws {
            var seed: UInt64 = 1
            while seed <= 400 {
                let outcomes = await SimulationTests.runAll(seed..<seed + 4) {
                    Simulation.Options(defects: [defect])
                }
                let found = outcomes.compactMap { outcome in outcome.violation.map { (outcome.seed, $0) } }
                if let (seed, violation) = found.first {
                    #expect(kinds.contains(violation.kind), "seed \(seed): \(violation)")
                    say("simulate: \(defect.rawValue) is caught by seed \(seed): \(violation)")
                    return
                }
                seed += 4
            }
            Issue.record("400 seeds did not find: \(defect.rawValue)")
        }
    }
}
