import TestSupport
import Testing

@testable import ControlHub

@Suite("What is to go")
struct RetentionPlanTests {
    private func usage(_ owner: String, _ rows: Int64, node: String? = nil) -> RetentionUsage {
        RetentionUsage(owner: owner, node: node, rows: rows, bytes: rows * 100)
    }

    private func plan(_ usages: [RetentionUsage], _ limits: RetentionLimits) -> [String: RetentionTrim] {
        Dictionary(uniqueKeysWithValues: RetentionPlan.trims(usages, limits).map { ($0.owner, $0) })
    }

    @Test("is nothing where everything is within its limits, or there are none")
    func nothing() {
        let usages = [usage("a", 10), usage("b", 1000)]
        #expect(RetentionPlan.trims(usages, RetentionLimits()) == [])
        #expect(RetentionPlan.trims(usages, RetentionLimits(rows: 1010, bytes: 101_000, ownerRows: 1000)) == [])
        #expect(RetentionPlan.trims([], RetentionLimits(rows: 1, bytes: 1)) == [])
    }

    @Test("is of an owner what is beyond its own share")
    func ofOwner() {
        let plan = plan([usage("a", 10), usage("b", 1000)], RetentionLimits(ownerRows: 400))
        #expect(plan["a"] == nil)
        #expect(plan["b"]?.rows == 600 && plan["b"]?.reason == .ownerRows)
    }

    @Test("is taken from who has most: a quiet bot loses nothing to a loud one")
    func fair() {
        let loud = plan([usage("quiet", 100), usage("loud", 10_000)], RetentionLimits(rows: 1000))
        #expect(loud["quiet"] == nil)
        #expect(loud["loud"]?.rows == 9100 && loud["loud"]?.reason == .rows)
        let many = plan([usage("quiet", 100), usage("a", 5000), usage("b", 600)], RetentionLimits(bytes: 100_000))
        #expect(many["quiet"] == nil)
        #expect(many["a"]?.bytes == 455_000 && many["b"]?.bytes == 15_000)
    }

    @Test("is taken within one node where that node has too much")
    func ofNode() {
        let usages = [usage("a", 50, node: "n"), usage("b", 900, node: "n"), usage("c", 900, node: "m")]
        let plan = plan(usages, RetentionLimits(nodeRows: 500))
        #expect(plan["a"] == nil)
        #expect(plan["b"]?.rows == 450 && plan["b"]?.reason == .nodeRows)
        #expect(plan["c"]?.rows == 400)
    }

    @Test("leaves no more than the limits, takes no more than needed, and nothing from those below the level")
    func always() {
        for seed in UInt64(1)...300 {
            var random = SeededRandom(seed: seed)
            let usages = (0..<Int.random(in: 1...30, using: &random)).map { index in
                usage("\(index)", .random(in: 0...5000, using: &random), node: "\(index % 4)")
            }
            let limits = RetentionLimits(
                rows: .random(in: 1...40_000, using: &random),
                ownerRows: .random(in: 1...4000, using: &random),
                nodeRows: .random(in: 1...20_000, using: &random)
            )
            let trims = plan(usages, limits)
            let left = usages.map { $0.rows - (trims[$0.owner]?.rows ?? 0) }
            #expect(left.allSatisfy { (0...(limits.ownerRows ?? 0)).contains($0) })
            #expect(left.reduce(0, +) <= limits.rows ?? 0)
            for node in 0..<4 {
                let sum = usages.indices.filter { $0 % 4 == node }.map { left[$0] }.reduce(0, +)
                #expect(sum <= limits.nodeRows ?? 0)
            }
            // Who has lost something has as much left as anybody, or is held by its own or its node's limit.
            let byTotal = trims.values.filter { $0.reason == .rows }.map {
                usages.map(\.owner).firstIndex(of: $0.owner).map { left[$0] } ?? 0
            }
            #expect(Set(byTotal).count <= 1)
            if let level = byTotal.first { #expect(left.allSatisfy { $0 <= level }) }
        }
    }

    @Test("is a number, whatever numbers are stored")
    func extremes() {
        let usages = [Int64.min, -1, 0, 1, .max].enumerated().map { index, number in
            RetentionUsage(owner: "\(index)", node: "n", rows: number, bytes: number)
        }
        for limit in [Int64.min, 0, 1, .max] {
            let limits = RetentionLimits(
                rows: limit,
                bytes: limit,
                ownerRows: limit,
                ownerBytes: limit,
                nodeRows: limit,
                nodeBytes: limit
            )
            #expect(
                RetentionPlan.trims(usages, limits).allSatisfy { $0.rows >= 0 && $0.bytes >= 0 && $0.bytesEach > 0 }
            )
        }
    }
}
