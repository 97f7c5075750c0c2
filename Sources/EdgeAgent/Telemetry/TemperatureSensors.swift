import SwiftProtobuf
import WireFormat

/// The temperatures that `/sys/class/hwmon` tells, or, where no driver does, `/sys/class/thermal`. Both count in thousandths
/// of a degree Celsius. Sensors are looked for once; the kernel gives them no other places while it runs.
struct TemperatureSensors {
    /// More are not read: a server has dozens, and some answer only after milliseconds.
    static let maximumCount = 32
    /// Beyond this a sensor is broken or not connected.
    private static let plausible = -100.0...200.0

    private struct Sensor {
        var name: String
        var path: String
    }

    private let sensors: [Sensor]

    init(paths: SystemPaths = SystemPaths()) {
        var reader = SmallFileReader()
        let monitors = Self.monitors(paths.sys + "/class/hwmon", &reader)
        let found = monitors.isEmpty ? Self.zones(paths.sys + "/class/thermal", &reader) : monitors
        sensors = Array(found.prefix(Self.maximumCount))
    }

    /// What the sensors say now; one that says nothing or nonsense is left out.
    func read(_ reader: inout SmallFileReader) -> [WireTemperature] {
        var temperatures: [WireTemperature] = []
        for sensor in sensors {
            // A sensor may be asleep with its device, which is no problem worth telling.
            guard let bytes = try? reader.read(sensor.path), let milli = Self.signed(bytes) else { continue }
            let celsius = Double(milli) / 1000
            guard Self.plausible.contains(celsius) else { continue }
            temperatures.append(
                WireTemperature.with {
                    $0.sensor = sensor.name
                    $0.celsius = celsius
                }
            )
        }
        return temperatures
    }

    private static func monitors(_ folder: String, _ reader: inout SmallFileReader) -> [Sensor] {
        var found: [Sensor] = []
        for device in DirectoryNames.list(folder) {
            let path = "\(folder)/\(device)"
            let name = text("\(path)/name", &reader) ?? device
            for file in DirectoryNames.list(path) where file.hasPrefix("temp") && file.hasSuffix("_input") {
                let label = text("\(path)/\(file.dropLast(6))_label", &reader)
                found.append(Sensor(name: label.map { "\(name) \($0)" } ?? name, path: "\(path)/\(file)"))
            }
        }
        return found
    }

    private static func zones(_ folder: String, _ reader: inout SmallFileReader) -> [Sensor] {
        DirectoryNames.list(folder).filter { $0.hasPrefix("thermal_zone") }.map { zone in
            Sensor(name: text("\(folder)/\(zone)/type", &reader) ?? zone, path: "\(folder)/\(zone)/temp")
        }
    }

    /// The first line, at most 64 bytes of it.
    private static func text(_ path: String, _ reader: inout SmallFileReader) -> String? {
        // Labels are optional.
        guard let bytes = try? reader.read(path) else { return nil }
        var lines = ByteCursor(bytes)
        guard let line = lines.line(), !line.isEmpty else { return nil }
        return String(decoding: line.prefix(64), as: UTF8.self)
    }

    private static func signed(_ bytes: ArraySlice<UInt8>) -> Int64? {
        var lines = ByteCursor(bytes)
        guard let line = lines.line() else { return nil }
        let isNegative = line.first == UInt8(ascii: "-")
        return ByteCursor.unsigned(isNegative ? line.dropFirst() : line).flatMap(Int64.init(exactly:)).map {
            isNegative ? -$0 : $0
        }
    }
}
