import WireFormat

/// What the hub was told of each bot in one session: only what changed is told again, so that a report costs what happened and
/// not what the node holds.
struct ReportedStates {
    private var told: [String: WireBotStatus]

    /// - Parameter bots: as Hello told them.
    init(_ bots: [WireBotStatus]) { told = Self.byBot(bots) }

    /// Leaves in a report what is news and counts it as told; nil where nothing is.
    ///
    /// - Parameter report: of all bots that the node holds.
    mutating func news(in report: WireBotStatusReport) -> WireBotStatusReport? {
        var news = report
        news.bots = report.bots.filter { told[$0.botID] != $0 }
        // Also without those that are gone: one that comes again is news, whatever its state.
        told = Self.byBot(report.bots)
        return news.bots.isEmpty ? nil : news
    }

    private static func byBot(_ bots: [WireBotStatus]) -> [String: WireBotStatus] {
        Dictionary(bots.map { ($0.botID, $0) }, uniquingKeysWith: { $1 })
    }
}
