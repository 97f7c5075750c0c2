import Foundation
import WireFormat

/// What a node used at one moment, or on average over some time. What is not known is nil.
struct ResourceSample: Sendable, Equatable {
    var at: Date
    var cpuPercent: Double?
    var load1m: Double?
    var memoryTotalBytes: Int64?
    var memoryAvailableBytes: Int64?
    /// Of the fullest disk.
    var diskUsedPercent: Double?
    /// Bytes a second since the sample before.
    var networkReceived: Double?
    var networkTransmitted: Double?
    var linkRTTMilliseconds: Double?
    /// Of the hottest sensor, °C.
    var temperature: Double?

    init(at: Date) { self.at = at }

    init(_ resources: WireNodeResources, linkRTTMicroseconds: UInt64, at date: Date) {
        at = date
        cpuPercent = resources.hasCpuPercent ? Self.finite(resources.cpuPercent) : nil
        load1m = Self.finite(resources.load1M)
        if resources.memoryTotalBytes > 0 {
            memoryTotalBytes = Int64(clamping: resources.memoryTotalBytes)
            memoryAvailableBytes = Int64(clamping: resources.memoryAvailableBytes)
        }
        diskUsedPercent =
            resources.disks.filter { $0.totalBytes > 0 }
            .map { 100 - 100 * min(1, Double($0.availableBytes) / Double($0.totalBytes)) }.max()
        linkRTTMilliseconds = linkRTTMicroseconds > 0 ? Double(linkRTTMicroseconds) / 1000 : nil
        temperature = resources.temperatures.map(\.celsius).filter(\.isFinite).max()
    }

    /// A node's figures are a node's word: SQL has no place for NaN.
    private static func finite(_ value: Double) -> Double? { value.isFinite ? value : nil }
}

/// How long figures are kept, and how fine. About 1,540 rows a node, 150 KB, unless the coarsest are kept for longer.
enum ResourceTier: Int64, CaseIterable, Sendable {
    case full = 0
    case fiveMinutes = 300
    case hour = 3600

    static let standardHourlyAge: Int64 = 30 * 86_400

    /// Seconds.
    ///
    /// - Parameter hourlyAge: of the coarsest.
    func keptFor(hourlyAge: Int64) -> Int64 {
        switch self {
        case .full: 3600
        case .fiveMinutes: 48 * 3600
        case .hour: hourlyAge
        }
    }

    /// Where its means come from.
    var source: ResourceTier? {
        switch self {
        case .full: nil
        case .fiveMinutes: .full
        case .hour: .fiveMinutes
        }
    }
}

/// What of a node's history is wanted: which figures, and how many of them to a point.
struct ResourceQuery: Sendable, Equatable {
    let since: Date
    let until: Date
    let tier: ResourceTier
    /// Seconds from one point to the next; 0 for every sample as it came.
    let step: Int64

    /// More points than pixels help nobody.
    static let maximumPoints: Int64 = 2000
    private static let usualPoints: Int64 = 500

    /// - Parameters:
    ///   - since: an hour ago unless given.
    ///   - step: as fine as fits in 500 points unless given; made coarser where it would be more than 2,000.
    ///   - hourlyAge: for which the coarsest figures are kept, in seconds.
    init(
        since: Date?,
        until: Date?,
        step: Int64?,
        now: Date,
        hourlyAge: Int64 = ResourceTier.standardHourlyAge
    ) {
        self.until = min(until ?? now, now)
        let earliest = now.addingTimeInterval(-Double(hourlyAge))
        self.since = min(max(since ?? now.addingTimeInterval(-3600), earliest), self.until)
        let range = max(1, Int64(saturating: self.until.timeIntervalSince(self.since).rounded(.up)))
        let age = Int64(saturating: now.timeIntervalSince(self.since).rounded(.down))
        let wanted = max(step ?? 0, range / (step == nil ? Self.usualPoints : Self.maximumPoints))
        // A minute's grace, so that asking for the last hour is not asking for more than an hour.
        let tier = ResourceTier.allCases.first { age <= $0.keptFor(hourlyAge: hourlyAge) + 60 } ?? .hour
        self.tier = tier
        if tier == .full, step == nil {
            self.step = 0
        } else {
            let grain = max(1, tier.rawValue)
            self.step = max(grain, (wanted + grain - 1) / grain * grain)
        }
    }
}
