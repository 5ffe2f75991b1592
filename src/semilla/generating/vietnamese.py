"""Vietnamese by rule and by list: syllables as the spelling allows them, common words, and a grammar of addresses.

Written for this package. Provinces are the 63 that there were until 2025, which is what forms and archives hold; the
places below them are composed, so most of those do not exist.
"""

from __future__ import annotations

import unicodedata

from semilla.generating.draws import listed

TONES = ("", "\u0300", "\u0301", "\u0309", "\u0303", "\u0323")
"""Combining marks: level, grave, acute, hook, tilde, dot below."""

_ONSETS = listed("b c ch d đ g gh gi h k kh l m n ng ngh nh p ph qu r s t th tr v x")
# A rime is written with * after the letter that carries the tone.
_OPEN = listed(
    "a* ai=a*i ao=a*o au=a*u ay=a*y âu=â*u ây=â*y e* eo=e*o ê* êu=ê*u i* ia=i*a iu=i*u iêu=iê*u o* oa=o*a oai=oa*i "
    "oe=o*e oi=o*i ô* ôi=ô*i ơ* ơi=ơ*i u* ua=u*a uê=uê* ui=u*i uy=u*y uôi=uô*i ư* ưa=ư*a ưi=ư*i ưu=ư*u ươi=ươ*i "
    "ươu=ươ*u y* yêu=yê*u"
)
_NASAL = listed(
    "a*m a*n a*ng a*nh ă*m ă*n ă*ng â*m â*n â*ng e*m e*n e*ng ê*m ê*n ê*nh i*m i*n i*nh iê*m iê*n iê*ng o*m o*n o*ng "
    "ô*m ô*n ô*ng ơ*m ơ*n oa*n oa*ng oă*n u*m u*n u*ng uâ*n uô*m uô*n uô*ng uyê*n ư*ng ươ*m ươ*n ươ*ng yê*n"
)
_STOPPED = listed(
    "a*c a*ch a*p a*t ă*c ă*p ă*t â*c â*p â*t e*c e*p e*t ê*ch ê*p ê*t i*ch i*p i*t iê*c iê*p iê*t o*c o*p o*t oa*t "
    "ô*c ô*p ô*t ơ*p ơ*t u*c u*p u*t uâ*t uô*c uô*t uyê*t ư*c ư*t ươ*c ươ*p ươ*t"
)
_FRONT = "ieêy"


def syllables() -> list[str]:
    """Every syllable of the inventory with every tone it can have, NFC, sorted: some ten thousand.

    Not all mean something; each is spelled and accented as if it did, so that all letters occur in their places.
    """
    made = set()
    for rimes, tones in ((_OPEN, TONES), (_NASAL, TONES), (_STOPPED, (TONES[2], TONES[5]))):
        for rime in rimes:
            shape = rime.partition("=")[2] or rime
            for onset in ("", *_ONSETS):
                if _joins(onset, shape.replace("*", "")):
                    made |= {onset + shape.replace("*", tone) for tone in tones}
    return sorted(unicodedata.normalize("NFC", one) for one in made)


def _joins(onset: str, rime: str) -> bool:
    """Whether the spelling allows them side by side."""
    first = rime[0]
    if onset in ("k", "gh", "ngh"):
        return first in _FRONT and not (onset != "k" and first == "y")
    if onset in ("c", "g", "ng"):
        return first not in _FRONT
    if onset in ("qu", "gi"):
        return first not in ("i" if onset == "gi" else "uoư") and not (
            onset == "qu" and first in "ôơ" and len(rime) > 1
        )
    return not (first == "y" and len(rime) > 1 and onset) and not (onset == "p" and first in "ưy")


WORDS = listed(
    "anh em chị ông bà cha mẹ con cháu bạn người trẻ già nam nữ tên tuổi ngày tháng năm giờ phút sáng trưa chiều tối "
    "đêm nay mai hôm qua trước sau giữa trên dưới trong ngoài phải trái gần xa cao thấp dài ngắn rộng hẹp to nhỏ mới "
    "cũ tốt xấu đẹp sạch bẩn nóng lạnh ấm mát khô ướt đỏ xanh vàng trắng đen tím hồng nâu một hai ba bốn sáu bảy tám "
    "chín mười trăm nghìn triệu tỷ nửa đôi vài nhiều ít mỗi mọi từng các những ăn uống ngủ nghỉ đi đứng ngồi nằm chạy "
    "nhảy bơi leo trèo đọc viết vẽ hát múa nói nghe nhìn thấy nghĩ biết hiểu nhớ quên yêu ghét thương giúp đỡ làm "
    "việc học hỏi dạy bảo mua bán trả vay mượn cho tặng gửi nhận mở đóng bật tắt cắt dán xây dựng sửa chữa nấu nướng "
    "rửa quét giặt nhà cửa vườn sân ao cầu đường phố chợ trường lớp thầy cô bàn ghế sách vở bút giấy thước bảng đèn "
    "quạt tủ giường chăn gối áo quần giày dép mũ nón khăn túi ví tiền gạo cơm canh thịt cá tôm cua gà vịt lợn bò trâu "
    "ngựa chó mèo chim rau quả cam chanh bưởi chuối dừa xoài ổi mít đu đủ nhãn vải mía ngô khoai sắn đậu lạc vừng "
    "nước trà sữa rượu bia muối đường mắm tiêu ớt tỏi hành gừng nghệ dầu mỡ bánh kẹo mứt phở bún miến cháo xôi chè "
    "núi rừng biển sông suối hồ đồng ruộng đất đá cát trời mây mưa gió bão nắng sương khói lửa sao trăng lúa hoa lá "
    "cỏ cây gỗ tre sắt thép đồng vàng bạc nhựa kính vải len lụa mắt mũi miệng tai tóc mặt cổ vai tay chân bụng lưng "
    "tim gan phổi máu xương da bệnh thuốc khám chữa khỏe yếu đau mệt vui buồn giận sợ lo mừng khóc cười thi cử điểm "
    "số môn toán văn lý hóa sinh sử địa ngoại ngữ tin nhạc thể dục kỹ thuật khoa nghề nông công thương nghiệp dịch vụ "
    "du lịch giao thông vận tải xe máy tàu thuyền bay ga bến cảng sân vé khách hàng hóa giá cả thuế phí lương thưởng "
    "nợ lãi vốn hợp đồng giấy tờ chứng minh hộ khẩu khai sinh kết hôn hồ sơ đơn thư mẫu ký đóng dấu xác nhận quyết "
    "định thông báo kính gửi cộng hòa xã hội chủ nghĩa độc lập tự do hạnh phúc việt quốc gia dân tộc lịch sử văn hiến "
    "truyền thống tương lai khuyến khích nguyên nhân ảnh hưởng quyền nghĩa vụ pháp luật trật tự an ninh bảo vệ môi "
    "trường thiên nhiên nghiên cứu phát triển ứng dụng phương pháp kết quả thực hiện kế hoạch chương trình tổ chức "
    "quản lý lãnh đạo giám đốc nhân viên kế toán bác sĩ kỹ sư giáo luật thợ"
)

PROVINCES = listed(
    "An Giang,Bà Rịa - Vũng Tàu,Bắc Giang,Bắc Kạn,Bạc Liêu,Bắc Ninh,Bến Tre,Bình Định,Bình Dương,Bình Phước,"
    "Bình Thuận,Cà Mau,Cần Thơ,Cao Bằng,Đà Nẵng,Đắk Lắk,Đắk Nông,Điện Biên,Đồng Nai,Đồng Tháp,Gia Lai,"
    "Hà Giang,Hà Nam,Hà Nội,Hà Tĩnh,Hải Dương,Hải Phòng,Hậu Giang,Hoà Bình,Hồ Chí Minh,Hưng Yên,Khánh Hoà,"
    "Kiên Giang,Kon Tum,Lai Châu,Lâm Đồng,Lạng Sơn,Lào Cai,Long An,Nam Định,Nghệ An,Ninh Bình,Ninh Thuận,"
    "Phú Thọ,Phú Yên,Quảng Bình,Quảng Nam,Quảng Ngãi,Quảng Ninh,Quảng Trị,Sóc Trăng,Sơn La,Tây Ninh,"
    "Thái Bình,Thái Nguyên,Thanh Hoá,Thừa Thiên Huế,Tiền Giang,Trà Vinh,Tuyên Quang,Vĩnh Long,Vĩnh Phúc,"
    "Yên Bái",
    ",",
)

FAMILY = listed(
    "Nguyễn Trần Lê Phạm Hoàng Huỳnh Phan Vũ Võ Đặng Bùi Đỗ Hồ Ngô Dương Lý Đinh Trịnh Mai Tô Lâm Đoàn Cao Lương Tạ "
    "Quách"
)
MIDDLE = listed("Văn Thị Hữu Đức Minh Ngọc Thanh Quang Xuân Thu Kim Hồng Anh Bảo Gia Khánh Tuấn Mỹ Thuỳ Đình Công Quốc")
GIVEN = listed(
    "An Anh Ánh Bình Châu Chi Cường Dũng Dung Duyên Đạt Đông Giang Hà Hải Hạnh Hằng Hiếu Hiền Hoa Hoà Huệ Hùng Hương "
    "Khoa Khôi Kiên Lan Linh Loan Long Ly Mai Mạnh My Nam Nga Ngân Nghĩa Nhung Oanh Phúc Phương Quân Quyên Quỳnh Sơn "
    "Tâm Tân Thảo Thắng Thịnh Thuận Thuỷ Tiến Toàn Trang Trí Trinh Trung Tú Tuyết Uyên Vân Việt Vinh Vy Xuân Yến"
)
UPLAND = listed(
    "Krông Pắc,Krông Nô,Ea H'leo,Ea Kar,Ia Grai,Cư M'gar,Cư Jút,Y Jut,Đắk R'lấp,Chư Prông,K'Bang,"
    "Buôn Ma Thuột,Plei Weh,Za Hung,A Zứt,Fa Ra,Wừu,Pa Tần,Mường Tè",
    ",",
)

PLACE = listed(
    "An Bắc Bàu Bình Cầu Châu Chánh Cẩm Diên Duy Đại Đắk Điền Định Đình Đông Đồng Đức Gia Giao Hạ Hải Hàm Hiệp Hoà "
    "Hoài Hoằng Hợp Hưng Hương Hữu Ia Khánh Kim Kiến La Lạc Lâm Lập Liên Long Lộc Lương Mỏ Mộc Mỹ Nam Nậm Nga Nghĩa "
    "Ngọc Nhơn Ninh Phong Phổ Phú Phúc Phước Quảng Quế Quỳnh Sơn Sông Tam Tân Tây Thạch Thái Thanh Thành Thiện Thịnh "
    "Thọ Thới Thuận Thuỷ Thượng Tiên Tiến Trà Trung Trường Tuy Tường Văn Vân Vạn Vĩnh Xuân Yên"
)
STREETS = listed(
    "Hùng Vương,Lê Lợi,Trần Hưng Đạo,Nguyễn Huệ,Quang Trung,Lý Thường Kiệt,Hai Bà Trưng,Bà Triệu,"
    "Phan Bội Châu,Phan Chu Trinh,Ngô Quyền,Đinh Tiên Hoàng,Lê Duẩn,Điện Biên Phủ,Cách Mạng Tháng 8,Võ Thị Sáu,"
    "Nguyễn Trãi,Lê Hồng Phong,Trường Chinh,Tôn Đức Thắng,Nguyễn Du,Hoàng Diệu,Xuân Diệu,Hàng Bạc,Tràng Tiền,"
    "Kim Mã,Láng Hạ,Xô Viết Nghệ Tĩnh",
    ",",
)

GRAMMAR: dict[str, tuple[str, ...]] = {
    "line": (
        "{address}",
        "{address}",
        "{address}",
        "{short}",
        "{name}",
        "{title} {name}",
        "{words}",
        "{words}",
        "{Words}",
        "{date}",
        "{label}: {value}",
        "{words}, {words}.",
        "{sum}",
    ),
    "address": (
        "{number} {Street} {ward} {District} {Province}",
        "{number} Đường {Street}, {ward}, {District}, {Province}",
        "{hamlet} {Place} {Place} {Province}",
        "{hamlet}, {commune}, {District}, {Province}",
        "{Place} {District} {Province}",
        "{commune} {District} Tỉnh {Province}",
        "Số {number} {Street} {ward} {city}",
    ),
    "short": ("{Place} {Province}", "{Province}", "{Place} {Place}", "{hamlet} {Place}", "{ward} {District}", "{city}"),
    "hamlet": (
        "Thôn {n}",
        "Tổ {n}",
        "Xóm {n}",
        "Ấp {Place}",
        "Bản {Place}",
        "Khu {n}",
        "Khóm {n}",
        "Thôn {Place}",
        "Buôn {Place}",
        "Tổ dân phố {n}",
    ),
    "commune": ("Xã {Place}", "Thị Trấn {Place}", "{Place}", "xã {Place}"),
    "ward": ("Phường {n}", "Phường {Place}", "P. {Place}", "P{n}", "{Place}"),
    "District": (
        "Huyện {Place}",
        "Quận {n}",
        "Thị Xã {Place}",
        "Thành Phố {Province}",
        "{Place}",
        "{Place}",
        "huyện {Place}",
        "Q.{n}",
    ),
    "city": ("Hà Nội", "Tp Hồ Chí Minh", "TP. Hồ Chí Minh", "Tp {Province}", "Thành phố {Province}"),
    "number": (
        "{n}",
        "{n}",
        "{nn}",
        "{nn}/{n}",
        "{nnn}",
        "{n}{letter}",
        "{nnn}/{nn}/{n}",
        "Ngõ {nn}",
        "Ngách {n}/{nn}",
        "Lô {letter}{n}",
    ),
    "Place": (
        "{place} {place}",
        "{place} {place}",
        "{place} {place}",
        "{place} {Syllable}",
        "{Syllable} {Syllable}",
        "{Upland}",
    ),
    "name": ("{Family} {Middle} {Given}", "{Family} {Given}", "{Family} {Middle} {Middle} {Given}"),
    "title": ("Ông", "Bà", "Anh", "Chị", "Bác sĩ", "Cô giáo", "Kính gửi"),
    "date": (
        "ngày {n} tháng {n} năm {year}",
        "{nn}/{nn}/{year}",
        "Hà Nội, ngày {n}/{n}/{year}",
        "{n}-{n}-{year}",
        "{n} giờ {nn} phút",
    ),
    "label": (
        "Họ và tên",
        "Địa chỉ",
        "Số điện thoại",
        "Nơi sinh",
        "Ngày cấp",
        "Nghề nghiệp",
        "Ghi chú",
        "Số tài khoản",
        "Email",
    ),
    "value": ("{name}", "{short}", "0{nnn} {nnn} {nnn}", "{date}", "{Words}", "{nnn}{nnn}{nnn}", "(0{nn}) {nnn}{nnn}"),
    "sum": (
        "{n}.{nnn}.000 đồng",
        "{nnn}.000 đ",
        "Tổng cộng: {nn}.{nnn}.{nnn}",
        "{n},{n}%",
        "{n} + {n} = {nn}",
        '"{words}"',
        "{words}!",
        "{words}?",
    ),
    "words": (
        "{word} {word} {word}",
        "{word} {word}",
        "{word} {word} {word} {word} {word}",
        "{word} {word} {syllable}",
        "{word} {syllable} {word} {word}",
    ),
    "Words": ("{Word} {word} {word}", "{Word} {word} {word} {word}", "{Word} {Word}", "{Word} {Syllable} {Word}"),
}
"""Rules by name; each way to write one is as likely as the next. What no rule is called is drawn by `grammar.fill`."""
