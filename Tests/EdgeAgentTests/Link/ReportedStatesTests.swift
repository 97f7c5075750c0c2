import SwiftProtobuf
import Testing
import WireFormat

@testable import EdgeAgent

@Suite("Of its bots' states an agent tells")
struct ReportedStatesTests {
    private func bot(_ number: Int, _ phase: WireBotPhase) -> WireBotStatus {
        .with { ($0.botID, $0.phase) = ("bot-\(number)", phase) }
    }

    private func report(_ bots: [WireBotStatus], revision: UInt64 = 7) -> WireBotStatusReport {
        .with { ($0.bots, $0.revision) = (bots, revision) }
    }

    @Test("nothing that Hello told")
    func afterHello() {
        let bots = (0..<300).map { bot($0, .ready) }
        var states = ReportedStates(bots)
        #expect(states.news(in: report(bots)) == nil)
    }

    /// Three hundred bots that start one after the other are six hundred states, and not a hundred thousand.
    @Test("each change once")
    func eachChangeOnce() {
        var bots = (0..<300).map { bot($0, .stopped) }
        var states = ReportedStates(bots)
        var told = 0
        for number in bots.indices {
            for phase in [WireBotPhase.starting, .ready] {
                bots[number].phase = phase
                let news = states.news(in: report(bots, revision: UInt64(number)))
                #expect(news?.bots == [bots[number]])
                #expect(news?.revision == UInt64(number))
                told += news?.bots.count ?? 0
            }
        }
        #expect(told == 600)
    }

    @Test("one that was gone and came again, though its state is what it was")
    func cameAgain() {
        var states = ReportedStates([bot(1, .ready), bot(2, .ready)])
        #expect(states.news(in: report([bot(2, .ready)])) == nil)
        #expect(states.news(in: report([bot(1, .ready), bot(2, .ready)]))?.bots == [bot(1, .ready)])
    }
}
