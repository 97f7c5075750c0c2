import CFuzzer
import Glibc

/// `Fuzzer --target=NAME [libFuzzer's options] [corpus folders, or files to replay]`.
///
/// libFuzzer leaves options with two dashes alone and hands them on to the processes it starts.
@main struct Fuzzer {
    private static let chosen: FuzzTarget? = {
        let option = "--target="
        let name = CommandLine.arguments.first { $0.hasPrefix(option) }?.dropFirst(option.count)
        return FuzzTarget.all.first { $0.name == name.map(String.init) }
    }()

    static func main() {
        if CommandLine.arguments.contains("--list") {
            for target in FuzzTarget.all { print(target.name) }
            return
        }
        guard chosen != nil else {
            print("name a target with --target=NAME; --list shows them all")
            exit(2)
        }
        var count = CommandLine.argc
        var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
        exit(LLVMFuzzerRunDriver(&count, &arguments) { start, count in Fuzzer.run(start, count) })
    }

    private static func run(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
        do {
            try chosen?.run(ByteReader(UnsafeBufferPointer(start: start, count: count)))
        } catch {
            // Ending the process is how a finding is told to libFuzzer, which then keeps the input.
            fatalError("broken promise: \(error)")
        }
        return 0
    }
}
